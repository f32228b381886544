"""An archive of any size in plain SQL: three years of one laboratory, some of the last week's cases still open.

Everything follows from the number of a case by hashing, so that an archive is the same each time it is made. Triggers
and foreign keys rest meanwhile, and plain indexes are made again at the end; constraints and identities hold.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

TABLES = ("patient", "case", "smearimage", "predictionrun", "caseprediction", "reading", "timelineevent")
IMAGES_PER_CASE = 3
RECENT, OPEN = 600, 400

FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.of(kind text, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN md5(kind || number)::uuid;
CREATE OR REPLACE FUNCTION pg_temp.share(number bigint, salt int) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN (hashint8extended(number, salt) & 1048575) / 1048576.0;
CREATE OR REPLACE FUNCTION pg_temp.bell(number bigint, salt int) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN (pg_temp.share(number, salt) + pg_temp.share(number, salt + 1) + pg_temp.share(number, salt + 2)
            + pg_temp.share(number, salt + 3) - 2) * 1.732;
CREATE OR REPLACE FUNCTION pg_temp.class(number bigint, salt int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN (ARRAY['Benign', 'Early', 'Pre', 'Pro'])[1 + floor(pg_temp.share(number, salt) * 4)::int];
CREATE OR REPLACE FUNCTION pg_temp.about(truth text, number bigint, salt int, right_in float8) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN pg_temp.share(number, salt) < right_in THEN truth ELSE pg_temp.class(number, salt + 1) END;
"""

# The newest RECENT cases came within a week, whatever the size, and OPEN of them are open: so a page shows as much
# over any. All others are spread over three years, so that a larger archive was a busier place.
PLAN = """
CREATE TEMPORARY TABLE plan AS
SELECT i, pg_temp.of('case', i) AS id, pg_temp.class(i, 1) AS truth,
       CASE WHEN pg_temp.share(i, 2) < 0.1 THEN 0 WHEN pg_temp.share(i, 2) < 0.35 THEN 1 ELSE 2 END AS priority,
       CASE WHEN rank < %(open)s THEN
                CASE WHEN pg_temp.share(i, 3) < 0.7 THEN 'awaiting_review'
                     WHEN pg_temp.share(i, 3) < 0.85 THEN 'in_review'
                     WHEN pg_temp.share(i, 3) < 0.95 THEN 'submitted' ELSE 'returned' END
            WHEN pg_temp.share(i, 3) < 0.01 THEN 'cancelled' ELSE 'signed' END AS state,
       now() - interval '1 hour' - CASE
           WHEN rank < %(recent)s THEN (rank + pg_temp.share(i, 4)) / %(recent)s * week
           ELSE week
                + (rank - %(recent)s + pg_temp.share(i, 4)) / (%(cases)s - %(recent)s) * (interval '1096 days' - week)
       END AS submitted_at,
       exp(3 + 0.8 * pg_temp.bell(i, 5)) * interval '1 second' AS prediction,
       exp(7 + 1.0 * pg_temp.bell(i, 9)) * interval '1 second' AS waiting,
       exp(5.5 + 0.8 * pg_temp.bell(i, 13)) * interval '1 second' AS reading,
       (%(readers)s::uuid[])[1 + floor(pg_temp.share(i, 17) * cardinality(%(readers)s::uuid[]))::int] AS reader,
       pg_temp.share(i, 18) < 0.1 AS second
FROM (
    SELECT i, %(cases)s - i AS rank, least(interval '7 days', interval '1096 days' * %(recent)s / %(cases)s) AS week
    FROM generate_series(1, %(cases)s) AS i
) numbered
"""

LOAD = (
    """
    INSERT INTO diagnosis_patient (id, site_id, mrn, family_name, given_name, birth_date, sex, created_at)
    SELECT pg_temp.of('patient', i), %(site)s, 'P-' || lpad(i::text, 7, '0'),
           'Family ' || mod(i, 5003), 'Given ' || mod(i, 211),
           date '1940-01-01' + mod(i, 25000)::int, CASE WHEN mod(i, 2) = 0 THEN 'female' ELSE 'male' END, now()
    FROM generate_series(0, %(cases)s / 2) AS i
    """,
    """
    INSERT INTO diagnosis_case (id, site_id, patient_id, accession_number, specimen, stain, objective, image_kind,
                                priority, clinical_note, state, triage, submitted_by_id, reader_id, first_reader_id,
                                signed_by_id, returned_reason, created_at, submitted_at, ready_at, signed_at)
    SELECT id, %(site)s, pg_temp.of('patient', i / 2), 'A-' || lpad(i::text, 7, '0'),
           'peripheral_blood', 'wright_giemsa', '100',
           'field', priority, 'Pancytopenia.', state,
           CASE WHEN pg_temp.share(i, 20) < 0.1 THEN 'uncertain' ELSE 'none' END, %(technician)s,
           CASE WHEN state IN ('signed', 'in_review') THEN reader END,
           CASE WHEN state = 'signed' AND second AND reader <> (%(readers)s::uuid[])[1]
                THEN (%(readers)s::uuid[])[1] END,
           CASE WHEN state = 'signed' THEN reader END, CASE WHEN state = 'returned' THEN 'Out of focus.' ELSE '' END,
           submitted_at, submitted_at, CASE WHEN state <> 'submitted' THEN submitted_at + prediction END,
           CASE WHEN state = 'signed' THEN least(submitted_at + prediction + waiting + reading, now()) END
    FROM plan
    """,
    """
    INSERT INTO diagnosis_smearimage (id, case_id, position, file_name, sha256, content_type, size, width, height,
                                      thumbnail_sha256, thumbnail_size, quality, uploaded_by_id, created_at)
    SELECT pg_temp.of('image', 3 * i + k), id, k, 'field_' || k || '.jpg', repeat(md5('s' || (3 * i + k)), 2),
           'image/jpeg', 20000, 224, 224, repeat(md5('t' || (3 * i + k)), 2), 3000,
           jsonb_build_object('verdict', 'good', 'checks', jsonb_build_array(
               jsonb_build_object('name', 'sharpness', 'ok', true, 'sentence', 'Sharp.',
                                  'value', round(exp(-2.5 + 0.4 * pg_temp.bell(3 * i + k, 21))::numeric, 4)),
               jsonb_build_object('name', 'exposure', 'ok', true, 'sentence', 'Well lit.',
                                  'value', round((200 + 12 * pg_temp.bell(3 * i + k, 25))::numeric, 4)),
               jsonb_build_object('name', 'stain', 'ok', true, 'sentence', 'Stained.',
                                  'value', round(exp(-2.4 + 0.4 * pg_temp.bell(3 * i + k, 29))::numeric, 4)))),
           %(technician)s, submitted_at
    FROM plan CROSS JOIN generate_series(1, 3) AS k
    """,
    """
    INSERT INTO diagnosis_predictionrun (id, image_id, model_version_id, site_id, state, priority, attempts, queued_at,
                                         started_at, finished_at, worker, device, backend, label, confidence,
                                         probabilities, abstained, reasons, error, cells)
    SELECT pg_temp.of('run', j), pg_temp.of('image', j), %(version)s, %(site)s, run.state, priority,
           CASE WHEN run.state = 'queued' THEN 0 ELSE 1 END, submitted_at,
           CASE WHEN run.state <> 'queued' THEN submitted_at + wait END,
           CASE WHEN run.state <> 'queued' THEN submitted_at + wait + ran END, 'worker-1', 'cpu', 'compile',
           run.label, confidence,
           CASE WHEN run.label <> '' THEN jsonb_build_object(run.label, confidence) END,
           coalesce(confidence < 0.5, false),
           CASE WHEN run.state = 'refused' THEN '["blurred"]'::jsonb ELSE '[]'::jsonb END,
           CASE WHEN run.state = 'failed' THEN 'The worker stopped.' ELSE '' END, '[]'::jsonb
    FROM (SELECT *, 3 * i + k AS j FROM plan CROSS JOIN generate_series(1, 3) AS k) planned
    CROSS JOIN LATERAL (
        SELECT CASE WHEN planned.state = 'submitted' THEN 'queued' WHEN pg_temp.share(j, 33) < 0.95 THEN 'succeeded'
                    WHEN pg_temp.share(j, 33) < 0.98 THEN 'refused' ELSE 'failed' END AS state,
               exp(1 + 0.8 * pg_temp.bell(j, 34)) * interval '1 second' AS wait,
               exp(0.5 + 0.4 * pg_temp.bell(j, 38)) * interval '1 second' AS ran
    ) first
    CROSS JOIN LATERAL (
        SELECT first.state,
               CASE WHEN first.state = 'succeeded' THEN pg_temp.about(truth, j, 42, 0.92) ELSE '' END AS label,
               CASE WHEN first.state = 'succeeded' THEN 1 - 0.7 * pg_temp.share(j, 44) ^ 3 END AS confidence
    ) run
    """,
    """
    INSERT INTO diagnosis_caseprediction (case_id, model_version_id, image_count, answered_count, abstained_count,
                                          label, probabilities, computed_at)
    SELECT id, %(version)s, 3, 3, 0, truth, jsonb_build_object(truth, 0.9), submitted_at + prediction
    FROM plan WHERE state <> 'submitted'
    """,
    """
    INSERT INTO diagnosis_timelineevent (case_id, kind, at, actor_id, from_state, to_state, reason)
    SELECT id, 'moved', submitted_at, %(technician)s::uuid, 'draft', 'submitted', '' FROM plan
    UNION ALL
    SELECT id, 'moved', submitted_at + prediction + waiting, reader, 'awaiting_review', 'in_review', ''
    FROM plan WHERE state IN ('signed', 'in_review')
    UNION ALL
    SELECT id, 'moved', submitted_at + prediction + waiting, reader, 'awaiting_review', 'returned', 'Out of focus.'
    FROM plan WHERE state = 'returned'
    UNION ALL
    SELECT id, 'moved', submitted_at + prediction + waiting + reading, reader, 'in_review', 'signed', ''
    FROM plan WHERE state = 'signed'
    """,
    """
    INSERT INTO diagnosis_reading (case_id, image_id, reader_id, stage, decision, finding, run_id, suggested, reason,
                                   comment, created_at)
    SELECT id, NULL::uuid, reader, 'own', 'independent', pg_temp.about(truth, i, 46, 0.9), NULL::uuid, '', '', '',
           submitted_at + prediction + waiting + reading * 0.5
    FROM plan WHERE state = 'signed'
    UNION ALL
    SELECT id, NULL, reader, 'informed', CASE WHEN finding = suggested THEN 'agree' ELSE 'override' END, finding, NULL,
           suggested, CASE WHEN finding = suggested THEN '' ELSE 'Nucleoli plain to see.' END, '',
           submitted_at + prediction + waiting + reading * 0.9
    FROM plan
    CROSS JOIN LATERAL (
        SELECT pg_temp.about(truth, i, 48, 0.98) AS finding, pg_temp.about(truth, i, 50, 0.94) AS suggested
    ) said
    WHERE state = 'signed'
    UNION ALL
    SELECT plan.id, run.image_id, reader, 'informed',
           CASE WHEN run.label = '' THEN 'independent' WHEN said.finding = run.label THEN 'agree' ELSE 'override' END,
           said.finding, CASE WHEN run.label <> '' THEN run.id END, run.label,
           CASE WHEN run.label <> '' AND said.finding <> run.label
                THEN (ARRAY['Nucleoli plain to see.', 'Smudged cells.', 'Too few cells in the field.'])
                     [1 + floor(pg_temp.share(3 * i + k, 54) * 3)::int] ELSE '' END, '',
           submitted_at + prediction + waiting + reading * 0.8
    FROM plan CROSS JOIN generate_series(1, 3) AS k
    JOIN diagnosis_predictionrun run ON run.id = pg_temp.of('run', 3 * i + k)
    CROSS JOIN LATERAL (SELECT pg_temp.about(truth, 3 * i + k, 52, 0.97) AS finding) said
    WHERE plan.state = 'signed'
    """,
)


def archive_fill(*, cases: int, people: dict[str, Any]) -> None:
    """So many cases, more than RECENT, of the site, technician, readers and version in `people`."""
    given: dict[str, Any] = {"cases": cases, "recent": RECENT, "open": OPEN, **people}
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET maintenance_work_mem = '512MB'")
        cursor.execute("SET work_mem = '128MB'")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(FUNCTIONS)
        cursor.execute(PLAN, given)
        cursor.execute("ANALYZE plan")
        with _without_indexes():
            for statement in LOAD:
                cursor.execute(statement, given)
        cursor.execute("DROP TABLE plan")
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute("VACUUM ANALYZE")


@contextmanager
def _without_indexes() -> Iterator[None]:
    """Without those indexes that hold no constraint: it is quicker to make them anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
            WHERE indrelid = ANY(%s::regclass[]) AND NOT indisunique
            """,
            [[f"diagnosis_{name}" for name in TABLES]],
        )
        found = cursor.fetchall()
        for name, _ in found:
            cursor.execute(f"DROP INDEX {name}")
        yield
        for _, definition in found:
            cursor.execute(definition)
