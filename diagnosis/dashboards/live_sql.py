"""The statements behind live performance and drift, over the summaries of signed cases."""

# What this version made of the images; and, to compare, what others made of those it served.
IMAGES = """
SELECT model_version_id AS version, state, label, abstained, finding, stage, decision, beside_id AS beside,
       beside_label, sum(images)::int AS images
FROM period JOIN diagnosis_imagesummary summary USING (span, day)
WHERE site_id = ANY(%(sites)s::uuid[]) AND %(version)s IN (model_version_id, beside_id)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""

# Images that were predicted and read as a class, week by week: over spans no longer than a week.
WEEKS = """
SELECT date_trunc('week', summary.day)::date AS week, sum(images)::int AS images,
       coalesce(sum(images) FILTER (WHERE label = finding), 0)::int AS agreed
FROM period JOIN diagnosis_imagesummary summary USING (span, day)
WHERE site_id = ANY(%(sites)s::uuid[]) AND model_version_id = %(version)s AND state = 'succeeded'
  AND finding <> '' AND finding <> ALL(%(general)s)
GROUP BY 1 ORDER BY 1
"""

CASES = """
SELECT decision, own_read_first, classed, agreed, revealed, flip, sum(cases)::int AS cases
FROM period JOIN diagnosis_casesummary summary USING (span, day)
WHERE site_id = ANY(%(sites)s::uuid[]) AND model_version_id = %(version)s
GROUP BY 1, 2, 3, 4, 5, 6
"""

# A reason is free text and may hold a name: one that was given rarely is not quoted.
OVERRIDE_REASONS = """
, given AS (
    SELECT key AS reason, sum(n) AS n
    FROM period JOIN diagnosis_countsummary summary USING (span, day)
    WHERE site_id = ANY(%(sites)s::uuid[]) AND measure = 'override' AND model_version_id = %(version)s
    GROUP BY 1
)
SELECT quoted.reason, sum(given.n)::int AS overrides
FROM given CROSS JOIN LATERAL (SELECT CASE WHEN n >= %(least)s THEN given.reason ELSE '' END AS reason) quoted
GROUP BY quoted.reason ORDER BY quoted.reason = '', overrides DESC, quoted.reason LIMIT 16
"""

DRIFT = """
WITH period AS (
    SELECT * FROM unnest(%(spans)s::int[], %(days)s::date[], %(recent)s::bool[]) AS asked(span, day, recent)
)
SELECT recent, 'said' AS measure, state, label, abstained, 0 AS bin, sum(images)::int AS n
FROM period JOIN diagnosis_imagesummary summary USING (span, day)
WHERE site_id = ANY(%(sites)s::uuid[]) AND model_version_id = %(version)s AND state IN ('succeeded', 'refused')
GROUP BY 1, 3, 4, 5
UNION ALL
SELECT recent, measure, '', '', false, bin, sum(n)::int
FROM period JOIN diagnosis_countsummary summary USING (span, day)
WHERE site_id = ANY(%(sites)s::uuid[]) AND model_version_id = %(version)s
  AND measure IN ('confidence', 'sharpness', 'exposure', 'stain')
GROUP BY 1, 2, 6
"""
