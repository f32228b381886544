"""The statements behind the operations dashboard: what waits now, and the summaries of what went on."""

# Open runs and open cases are few whatever the archive holds: partial indexes find them.
NOW = """
SELECT 'images' AS what, state, priority, count(*) AS n,
       max(extract(epoch FROM statement_timestamp() - queued_at))::float8 AS oldest_seconds
FROM diagnosis_predictionrun
WHERE site_id = ANY(%(sites)s::uuid[]) AND state IN ('queued', 'running')
GROUP BY state, priority
UNION ALL
SELECT 'cases', state, priority, count(*),
       max(extract(epoch FROM statement_timestamp() - submitted_at))::float8
FROM diagnosis_case
WHERE site_id = ANY(%(sites)s::uuid[])
  AND state IN ('submitted', 'awaiting_review', 'in_review', 'second_read', 'returned')
GROUP BY state, priority
"""

DAILY = """
SELECT day, measure, sum(n)::int AS n
FROM diagnosis_countsummary
WHERE site_id = ANY(%(sites)s::uuid[]) AND span = 1 AND day BETWEEN %(since)s AND %(until)s
  AND measure IN ('submitted', 'signed', 'returned', 'succeeded', 'refused', 'failed')
GROUP BY day, measure
"""

TIMES = """
SELECT measure, key, bin, sum(n)::int AS n
FROM period JOIN diagnosis_countsummary summary USING (span, day)
WHERE site_id = ANY(%(sites)s::uuid[])
  AND measure IN ('prediction', 'waiting', 'reading', 'total', 'within', 'image_waiting', 'image_running')
GROUP BY 1, 2, 3
"""

PROBLEMS = """
SELECT measure, key AS reason, sum(n)::int AS images
FROM period JOIN diagnosis_countsummary summary USING (span, day)
WHERE site_id = ANY(%(sites)s::uuid[]) AND measure IN ('why_refused', 'why_failed')
GROUP BY 1, 2 ORDER BY images DESC, 1 DESC, 2 LIMIT 40
"""

WORKLOAD = """
, counted AS (
    SELECT measure, key, bin, sum(n)::int AS n
    FROM period JOIN diagnosis_countsummary summary USING (span, day)
    WHERE site_id = ANY(%(sites)s::uuid[])
      AND measure IN ('reader', 'reader_cases', 'reader_images', 'reader_stat', 'reader_second')
    GROUP BY 1, 2, 3
)
SELECT key, coalesce(nullif(trim(reader.first_name || ' ' || reader.last_name), ''), reader.username) AS reader,
       measure, bin, n
FROM counted JOIN accounts_user reader ON reader.id::text = counted.key
"""
