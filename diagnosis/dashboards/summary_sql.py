"""How the summaries are counted from the cases of one site, over days `[start, end)`. All of live performance starts
from signed cases: nothing that is not signed is ever counted there."""

# Opened is the last time somebody began to read before signing, and never before the predictions were there.
SIGNED = """
WITH signed AS MATERIALIZED (
    SELECT c.id, c.site_id, c.priority, c.signed_by_id, c.first_reader_id, c.submitted_at, c.ready_at, c.signed_at,
           (c.signed_at AT TIME ZONE %(zone)s)::date AS day, opened.at AS opened_at,
           CASE c.priority WHEN 0 THEN site.tat_target_stat WHEN 1 THEN site.tat_target_urgent
                ELSE site.tat_target_routine END * 60 AS target_seconds
    FROM diagnosis_case c
    JOIN accounts_site site ON site.id = c.site_id
    LEFT JOIN LATERAL (
        SELECT event.at FROM diagnosis_timelineevent event
        WHERE event.case_id = c.id AND event.kind = 'moved' AND event.to_state = 'in_review'
        ORDER BY event.id DESC LIMIT 1
    ) opened ON true
    WHERE c.state = 'signed' AND c.site_id = %(site)s AND c.signed_at >= %(start)s AND c.signed_at < %(end)s
)
"""

# `beside` is what the version that served the case said of the same image, where this is another one.
IMAGES = """
, looked AS (
    SELECT signed.site_id, signed.day, signed.id AS case_id, run.*
    FROM signed
    JOIN diagnosis_smearimage image ON image.case_id = signed.id AND image.withdrawn_at IS NULL
    JOIN LATERAL (
        SELECT id AS run_id, image_id, model_version_id, state, label, abstained
        FROM diagnosis_predictionrun WHERE image_id = image.id AND state IN ('succeeded', 'refused', 'failed')
    ) run ON true
)
INSERT INTO diagnosis_imagesummary (site_id, span, day, model_version_id, state, label, abstained, finding, stage,
                                    decision, beside_id, beside_label, images)
SELECT looked.site_id, 1, looked.day, looked.model_version_id, looked.state, looked.label, looked.abstained,
       coalesce(reading.finding, ''), coalesce(reading.stage, ''), coalesce(reading.decision, ''),
       beside.model_version_id, coalesce(beside.label, ''), count(*)
FROM looked
LEFT JOIN LATERAL (
    SELECT finding, stage, decision FROM diagnosis_reading
    WHERE case_id = looked.case_id AND image_id = looked.image_id
    ORDER BY id DESC LIMIT 1
) reading ON true
LEFT JOIN LATERAL (
    SELECT other.model_version_id, other.label
    FROM diagnosis_predictionrun other
    JOIN diagnosis_modelversion served ON served.id = other.model_version_id
    JOIN diagnosis_modelversion mine ON mine.id = looked.model_version_id AND mine.task = served.task
    WHERE other.image_id = looked.image_id AND other.id <> looked.run_id AND other.priority < 3
      AND other.state IN ('succeeded', 'refused')
    ORDER BY other.queued_at DESC LIMIT 1
) beside ON true
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
"""

# The conclusion is what the signer said when signing; the standing one is what holds after amendments. `first_…` is
# of the first person who read: whoever asked for a second read, else the signer. Kept are not the findings but how
# they stand to each other: that is all the pages ask, and there are few such cases whatever the classes are.
CASES = """
INSERT INTO diagnosis_casesummary (site_id, span, day, model_version_id, decision, own_read_first, classed, agreed,
                                   revealed, flip, cases)
SELECT signed.site_id, 1, signed.day, looked.model_version_id, final.decision, own.finding IS NOT NULL,
       final.finding <> ALL(%(general)s), final.finding = final.suggested,
       CASE WHEN first_own.finding IS NULL OR coalesce(first_final.suggested, '') = '' THEN ''
            WHEN first_own.finding = first_final.suggested AND first_own.finding = first_final.finding THEN 'same_kept'
            WHEN first_own.finding = first_final.suggested THEN 'same_left'
            WHEN first_own.finding = first_final.finding THEN 'own_kept'
            WHEN first_final.finding = first_final.suggested THEN 'suggestion'
            ELSE 'third' END,
       CASE WHEN first_own.finding IS NULL OR first_final.finding IS NULL
                 OR (signed.first_reader_id IS NULL AND standing.id = final.id) THEN ''
            ELSE CASE WHEN first_own.finding = standing.finding THEN 'right_' ELSE 'wrong_' END
                 || CASE WHEN first_final.finding = standing.finding THEN 'right' ELSE 'wrong' END END,
       count(*)
FROM signed
JOIN LATERAL (
    SELECT run.model_version_id
    FROM diagnosis_smearimage image
    JOIN diagnosis_predictionrun run ON run.image_id = image.id AND run.state <> 'cancelled' AND run.priority < 3
    JOIN diagnosis_modelversion version ON version.id = run.model_version_id
    WHERE image.case_id = signed.id AND image.withdrawn_at IS NULL
    ORDER BY run.queued_at DESC, version.task LIMIT 1
) looked ON true
JOIN LATERAL (
    SELECT id, finding, suggested, decision FROM diagnosis_reading
    WHERE case_id = signed.id AND image_id IS NULL AND stage = 'informed' AND reader_id = signed.signed_by_id
      AND created_at <= signed.signed_at
    ORDER BY id DESC LIMIT 1
) final ON true
JOIN LATERAL (
    SELECT id, finding FROM diagnosis_reading
    WHERE case_id = signed.id AND image_id IS NULL AND stage = 'informed' AND id >= final.id
    ORDER BY id DESC LIMIT 1
) standing ON true
LEFT JOIN LATERAL (
    SELECT finding FROM diagnosis_reading
    WHERE case_id = signed.id AND image_id IS NULL AND stage = 'own' AND reader_id = signed.signed_by_id
      AND created_at >= signed.submitted_at
    ORDER BY id DESC LIMIT 1
) own ON true
LEFT JOIN LATERAL (
    SELECT finding FROM diagnosis_reading
    WHERE case_id = signed.id AND image_id IS NULL AND stage = 'own' AND created_at >= signed.submitted_at
      AND reader_id = coalesce(signed.first_reader_id, signed.signed_by_id)
    ORDER BY id DESC LIMIT 1
) first_own ON true
LEFT JOIN LATERAL (
    SELECT finding, suggested FROM diagnosis_reading
    WHERE case_id = signed.id AND image_id IS NULL AND stage = 'informed' AND created_at >= signed.submitted_at
      AND created_at <= signed.signed_at AND reader_id = coalesce(signed.first_reader_id, signed.signed_by_id)
    ORDER BY id DESC LIMIT 1
) first_final ON true
WHERE final.suggested <> ''
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
"""

INTO_COUNTS = """
INSERT INTO diagnosis_countsummary (site_id, span, day, model_version_id, measure, key, bin, n)
"""

# OFFSET 0 keeps the planner from looking for overrides in the whole archive first.
OVERRIDES = """
SELECT signed.site_id, 1, signed.day, run.model_version_id, 'override',
       lower(regexp_replace(btrim(reading.reason), '[[:space:]]+', ' ', 'g')), 0, count(*)
FROM signed
CROSS JOIN LATERAL (
    SELECT run_id, reason FROM diagnosis_reading
    WHERE case_id = signed.id AND image_id IS NOT NULL AND decision = 'override'
    OFFSET 0
) reading
JOIN diagnosis_predictionrun run ON run.id = reading.run_id
GROUP BY 1, 2, 3, 4, 5, 6
"""

# What drift is measured by: tenths of confidence, and steps of what the quality check measured, three hundredths wide;
# one for the exposure, which varies less.
SEEN = """
, seen AS (
    SELECT signed.day, run.model_version_id, run.state, run.confidence, image.quality
    FROM signed
    JOIN diagnosis_smearimage image ON image.case_id = signed.id AND image.withdrawn_at IS NULL
    JOIN LATERAL (
        SELECT model_version_id, state, confidence FROM diagnosis_predictionrun
        WHERE image_id = image.id AND state IN ('succeeded', 'refused', 'failed')
    ) run ON true
)
"""
LOOKS = """
SELECT %(site)s::uuid, 1, day, model_version_id, 'confidence', '', least(floor(confidence * 10)::int, 9), count(*)
FROM seen WHERE state = 'succeeded' GROUP BY 3, 4, 7
UNION ALL
SELECT %(site)s::uuid, 1, day, model_version_id, part ->> 'name', '',
       floor(ln(greatest((part ->> 'value')::float8, 0.0001))
             / ln(CASE part ->> 'name' WHEN 'exposure' THEN 1.01 ELSE 1.03 END))::int, count(*)
FROM seen
CROSS JOIN LATERAL jsonb_array_elements(
    CASE WHEN jsonb_typeof(quality -> 'checks') = 'array' THEN quality -> 'checks' ELSE '[]' END
) part
WHERE part ->> 'name' IN ('sharpness', 'exposure', 'stain')
GROUP BY 3, 4, 5, 7
"""

# Times are kept in bins whose ends are powers of `step`; `within` counts cases that met the target of their site.
TOOK = """
, took AS (
    SELECT day, priority::text AS key, stage, seconds, stage = 'total' AND seconds <= target_seconds AS within
    FROM signed
    CROSS JOIN LATERAL (VALUES
        ('prediction', extract(epoch FROM ready_at - submitted_at)::float8),
        ('waiting', extract(epoch FROM opened_at - ready_at)::float8),
        ('reading', extract(epoch FROM signed_at - opened_at)::float8),
        ('total', extract(epoch FROM signed_at - submitted_at)::float8)
    ) AS part(stage, seconds)
    WHERE seconds IS NOT NULL
    UNION ALL
    SELECT day, signed_by_id::text, 'reader', extract(epoch FROM signed_at - opened_at)::float8, false
    FROM signed WHERE opened_at IS NOT NULL
)
"""
TIMES = """
SELECT %(site)s::uuid, 1, day, NULL::uuid, stage, key,
       floor(ln(greatest(seconds, 0.001)) / ln(%(step)s))::int, count(*)
FROM took GROUP BY 3, 5, 6, 7
UNION ALL
SELECT %(site)s::uuid, 1, day, NULL, 'within', key, 0, count(*) FROM took WHERE within GROUP BY 3, 6
"""

READERS = """
SELECT %(site)s::uuid, 1, signed.day, NULL::uuid, part.measure, signed.signed_by_id::text, 0, sum(part.n)::int
FROM signed
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM diagnosis_smearimage image
    WHERE image.case_id = signed.id AND image.withdrawn_at IS NULL
) images
CROSS JOIN LATERAL (VALUES
    ('reader_cases', 1),
    ('reader_images', images.n),
    ('reader_stat', CASE WHEN signed.priority = 0 THEN 1 ELSE 0 END),
    ('reader_second', CASE WHEN signed.first_reader_id IS NOT NULL THEN 1 ELSE 0 END)
) AS part(measure, n)
WHERE part.n > 0
GROUP BY 3, 5, 6
"""

FLOW = """
WITH ended AS MATERIALIZED (
    SELECT (finished_at AT TIME ZONE %(zone)s)::date AS day, priority, state, queued_at, started_at, finished_at,
           reasons, error
    FROM diagnosis_predictionrun
    WHERE site_id = %(site)s AND finished_at >= %(start)s AND finished_at < %(end)s
      AND state IN ('succeeded', 'refused', 'failed')
),
happened AS (
    SELECT (submitted_at AT TIME ZONE %(zone)s)::date AS day, 'submitted' AS measure, '' AS key, 0 AS bin
    FROM diagnosis_case WHERE site_id = %(site)s AND submitted_at >= %(start)s AND submitted_at < %(end)s
    UNION ALL
    SELECT (signed_at AT TIME ZONE %(zone)s)::date, 'signed', '', 0
    FROM diagnosis_case
    WHERE site_id = %(site)s AND state = 'signed' AND signed_at >= %(start)s AND signed_at < %(end)s
    UNION ALL
    SELECT (event.at AT TIME ZONE %(zone)s)::date, 'returned', '', 0
    FROM diagnosis_timelineevent event JOIN diagnosis_case c ON c.id = event.case_id
    WHERE event.kind = 'moved' AND event.to_state = 'returned' AND event.at >= %(start)s AND event.at < %(end)s
      AND c.site_id = %(site)s
    UNION ALL
    SELECT day, state, '', 0 FROM ended
    UNION ALL
    SELECT ended.day, 'why_' || ended.state, reason.text, 0
    FROM ended
    CROSS JOIN LATERAL (
        SELECT jsonb_array_elements_text(
            CASE WHEN ended.reasons = '[]'::jsonb THEN '["no reason given"]'::jsonb ELSE ended.reasons END
        ) AS text WHERE ended.state = 'refused'
        UNION ALL
        SELECT left(split_part(ended.error, E'\\n', 1), 160) WHERE ended.state = 'failed'
    ) reason
    UNION ALL
    SELECT ended.day, part.stage, ended.priority::text, floor(ln(greatest(part.seconds, 0.001)) / ln(%(step)s))::int
    FROM ended
    CROSS JOIN LATERAL (VALUES
        ('image_waiting', extract(epoch FROM ended.started_at - ended.queued_at)::float8),
        ('image_running', extract(epoch FROM ended.finished_at - ended.started_at)::float8)
    ) AS part(stage, seconds)
    WHERE ended.started_at IS NOT NULL AND ended.state IN ('succeeded', 'refused')
)
"""
HAPPENED = """
SELECT %(site)s::uuid, 1, day, NULL::uuid, measure, key, bin, count(*) FROM happened GROUP BY 3, 5, 6, 7
"""

COUNTED = (
    SIGNED + IMAGES,
    SIGNED + CASES,
    SIGNED + INTO_COUNTS + OVERRIDES,
    SIGNED + SEEN + INTO_COUNTS + LOOKS,
    SIGNED + TOOK + INTO_COUNTS + TIMES,
    SIGNED + INTO_COUNTS + READERS,
    FLOW + INTO_COUNTS + HAPPENED,
)


def _added_up(table: str, names: str, count: str) -> str:
    """The lines of some spans of a site from those of the next shorter kind."""
    return f"""
        INSERT INTO {table} (site_id, span, day, {names}, {count})
        SELECT site_id, %(span)s, date '0001-01-01' + (day - date '0001-01-01') / %(span)s * %(span)s AS first_day,
               {names}, sum({count}) FROM {table}
        WHERE site_id = %(site)s AND span = %(below)s AND day BETWEEN %(first)s AND %(last)s
        GROUP BY site_id, first_day, {names}
    """  # noqa: S608 - the names are those below


ADDED_UP = {
    table: _added_up(table, names, count)
    for table, names, count in (
        (
            "diagnosis_imagesummary",
            "model_version_id, state, label, abstained, finding, stage, decision, beside_id, beside_label",
            "images",
        ),
        (
            "diagnosis_casesummary",
            "model_version_id, decision, own_read_first, classed, agreed, revealed, flip",
            "cases",
        ),
        ("diagnosis_countsummary", "model_version_id, measure, key, bin", "n"),
    )
}
