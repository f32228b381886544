"""The statements behind live performance and drift. All start from the signed cases of the scope: nothing that is
not signed is ever counted."""

SIGNED = """
WITH signed AS MATERIALIZED (
    SELECT id, signed_by_id, first_reader_id, submitted_at, signed_at
    FROM diagnosis_case
    WHERE state = 'signed' AND site_id = ANY(%(sites)s::uuid[])
      AND signed_at >= %(start)s AND signed_at < %(end)s
)
"""

# One row for each combination that occurs: few, however many images there are.
IMAGES = """
SELECT date_trunc('week', signed.signed_at AT TIME ZONE %(zone)s)::date AS week,
       run.state, run.label, run.abstained, coalesce(reading.finding, '') AS finding,
       coalesce(reading.stage, '') AS stage, coalesce(reading.decision, '') AS decision, count(*) AS images
FROM signed
JOIN diagnosis_smearimage image ON image.case_id = signed.id AND image.withdrawn_at IS NULL
JOIN diagnosis_predictionrun run ON run.image_id = image.id AND run.model_version_id = %(version)s
     AND run.state IN ('succeeded', 'refused', 'failed')
LEFT JOIN LATERAL (
    SELECT finding, stage, decision FROM diagnosis_reading
    WHERE case_id = signed.id AND image_id = image.id
    ORDER BY id DESC LIMIT 1
) reading ON true
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""

# The conclusion is what the signer said when signing; the standing one is what holds after amendments. `subject` is
# the first person who read: whoever asked for a second read, else the signer.
CASES = """
SELECT final.suggested, final.decision, final.finding AS conclusion, standing.finding AS standing,
       own.finding IS NOT NULL AS own_read_first,
       coalesce(first_own.finding, '') AS first_own, coalesce(first_final.finding, '') AS first_conclusion,
       coalesce(first_final.suggested, '') AS first_suggested,
       signed.first_reader_id IS NOT NULL OR standing.id <> final.id AS judged_by_another, count(*) AS cases
FROM signed
JOIN LATERAL (
    SELECT run.model_version_id
    FROM diagnosis_smearimage image
    JOIN diagnosis_predictionrun run ON run.image_id = image.id AND run.state <> 'cancelled' AND run.priority < 3
    JOIN diagnosis_modelversion version ON version.id = run.model_version_id
    WHERE image.case_id = signed.id AND image.withdrawn_at IS NULL
    ORDER BY run.queued_at DESC, version.task LIMIT 1
) looked ON looked.model_version_id = %(version)s
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
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""

# A reason is free text and may hold a name: one that was given rarely is not quoted. OFFSET 0 keeps the planner from
# looking for overrides in the whole archive first.
OVERRIDE_REASONS = """
, given AS (
    SELECT lower(regexp_replace(btrim(reading.reason), '[[:space:]]+', ' ', 'g')) AS reason, count(*) AS n
    FROM signed
    CROSS JOIN LATERAL (
        SELECT run_id, reason FROM diagnosis_reading
        WHERE case_id = signed.id AND image_id IS NOT NULL AND decision = 'override'
        OFFSET 0
    ) reading
    JOIN diagnosis_predictionrun run ON run.id = reading.run_id AND run.model_version_id = %(version)s
    GROUP BY 1
)
SELECT quoted.reason, sum(given.n)::int AS overrides
FROM given CROSS JOIN LATERAL (SELECT CASE WHEN n >= %(least)s THEN given.reason ELSE '' END AS reason) quoted
GROUP BY quoted.reason ORDER BY quoted.reason = '', overrides DESC, quoted.reason LIMIT 16
"""

# Tenths of the earlier images are the bins of a quality measure, so that each holds as many of them.
DRIFT = """
, seen AS (
    SELECT signed.signed_at >= %(cut)s AS recent, run.state, run.label, run.abstained, run.confidence
    FROM signed
    JOIN diagnosis_smearimage image ON image.case_id = signed.id AND image.withdrawn_at IS NULL
    JOIN diagnosis_predictionrun run ON run.image_id = image.id AND run.model_version_id = %(version)s
         AND run.state IN ('succeeded', 'refused')
),
measured AS (
    SELECT signed.signed_at >= %(cut)s AS recent, part ->> 'name' AS measure, (part ->> 'value')::float8 AS value
    FROM signed
    JOIN diagnosis_smearimage image ON image.case_id = signed.id AND image.withdrawn_at IS NULL
    JOIN diagnosis_predictionrun run ON run.image_id = image.id AND run.model_version_id = %(version)s
         AND run.state IN ('succeeded', 'refused', 'failed')
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE WHEN jsonb_typeof(image.quality -> 'checks') = 'array' THEN image.quality -> 'checks' ELSE '[]' END
    ) part
    WHERE part ->> 'name' IN ('sharpness', 'exposure', 'stain')
),
edges AS (
    SELECT measure, percentile_disc(ARRAY[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
           WITHIN GROUP (ORDER BY value) AS tenths
    FROM measured WHERE NOT recent GROUP BY measure
)
SELECT 'confidence' AS measure, recent,
       least(greatest(floor(confidence * 10)::int, 0), 9)::text AS bin, count(*) AS n
FROM seen WHERE state = 'succeeded' GROUP BY 1, 2, 3
UNION ALL
SELECT 'class', recent, label, count(*) FROM seen WHERE state = 'succeeded' GROUP BY 1, 2, 3
UNION ALL
SELECT 'abstention', recent, abstained::text, count(*) FROM seen WHERE state = 'succeeded' GROUP BY 1, 2, 3
UNION ALL
SELECT 'refusal', recent, (state = 'refused')::text, count(*) FROM seen GROUP BY 1, 2, 3
UNION ALL
SELECT measured.measure, measured.recent, width_bucket(measured.value, edges.tenths)::text, count(*)
FROM measured JOIN edges USING (measure) GROUP BY 1, 2, 3
"""
