"""The statements behind the operations dashboard. Each is bounded by sites and days and served by an index."""

# Open runs and open cases are few whatever the archive holds: partial indexes find them.
NOW = """
SELECT 'images' AS what, run.state, run.priority, count(*) AS n,
       max(extract(epoch FROM statement_timestamp() - run.queued_at))::float8 AS oldest_seconds
FROM (
    SELECT image_id, state, priority, queued_at FROM diagnosis_predictionrun WHERE state = 'queued'
    UNION ALL
    SELECT image_id, state, priority, queued_at FROM diagnosis_predictionrun WHERE state = 'running'
) run
JOIN diagnosis_smearimage image ON image.id = run.image_id
JOIN diagnosis_case c ON c.id = image.case_id
WHERE c.site_id = ANY(%(sites)s::uuid[])
GROUP BY run.priority, run.state
UNION ALL
SELECT 'cases', state, priority, count(*),
       max(extract(epoch FROM statement_timestamp() - submitted_at))::float8
FROM diagnosis_case
WHERE site_id = ANY(%(sites)s::uuid[])
  AND state IN ('submitted', 'awaiting_review', 'in_review', 'second_read', 'returned')
GROUP BY state, priority
"""

DAILY = """
WITH happened AS (
    SELECT (submitted_at AT TIME ZONE %(zone)s)::date AS day, 'submitted' AS what, count(*) AS n
    FROM diagnosis_case
    WHERE site_id = ANY(%(sites)s::uuid[]) AND submitted_at >= %(start)s AND submitted_at < %(end)s
    GROUP BY 1
    UNION ALL
    SELECT (signed_at AT TIME ZONE %(zone)s)::date, 'signed', count(*)
    FROM diagnosis_case
    WHERE site_id = ANY(%(sites)s::uuid[]) AND state = 'signed' AND signed_at >= %(start)s AND signed_at < %(end)s
    GROUP BY 1
    UNION ALL
    SELECT (event.at AT TIME ZONE %(zone)s)::date, 'returned', count(*)
    FROM diagnosis_timelineevent event
    JOIN diagnosis_case c ON c.id = event.case_id
    WHERE event.kind = 'moved' AND event.to_state = 'returned' AND event.at >= %(start)s AND event.at < %(end)s
      AND c.site_id = ANY(%(sites)s::uuid[])
    GROUP BY 1
    UNION ALL
    SELECT (run.finished_at AT TIME ZONE %(zone)s)::date, run.state, count(*)
    FROM diagnosis_predictionrun run
    JOIN diagnosis_smearimage image ON image.id = run.image_id
    JOIN diagnosis_case c ON c.id = image.case_id
    WHERE run.finished_at >= %(start)s AND run.finished_at < %(end)s
      AND run.state IN ('succeeded', 'refused', 'failed') AND c.site_id = ANY(%(sites)s::uuid[])
    GROUP BY 1, 2
)
SELECT day,
       coalesce(sum(n) FILTER (WHERE what = 'submitted'), 0)::int AS submitted,
       coalesce(sum(n) FILTER (WHERE what = 'signed'), 0)::int AS signed,
       coalesce(sum(n) FILTER (WHERE what = 'returned'), 0)::int AS returned,
       coalesce(sum(n) FILTER (WHERE what = 'succeeded'), 0)::int AS succeeded,
       coalesce(sum(n) FILTER (WHERE what = 'refused'), 0)::int AS refused,
       coalesce(sum(n) FILTER (WHERE what = 'failed'), 0)::int AS failed
FROM happened GROUP BY day
"""

# Opened is the last time somebody began to read before signing, and never before the predictions were there.
SIGNED_WITH_TIMES = """
WITH signed AS MATERIALIZED (
    SELECT c.id, c.priority, c.signed_by_id, c.first_reader_id, c.submitted_at, c.ready_at, c.signed_at,
           opened.at AS opened_at,
           CASE c.priority WHEN 0 THEN site.tat_target_stat WHEN 1 THEN site.tat_target_urgent
                ELSE site.tat_target_routine END AS target_minutes
    FROM diagnosis_case c
    JOIN accounts_site site ON site.id = c.site_id
    LEFT JOIN LATERAL (
        SELECT event.at FROM diagnosis_timelineevent event
        WHERE event.case_id = c.id AND event.kind = 'moved' AND event.to_state = 'in_review'
        ORDER BY event.id DESC LIMIT 1
    ) opened ON true
    WHERE c.site_id = ANY(%(sites)s::uuid[]) AND c.state = 'signed'
      AND c.signed_at >= %(start)s AND c.signed_at < %(end)s
)
"""

TIMES = """
, took AS (
    SELECT priority, target_minutes, stage, seconds
    FROM signed
    CROSS JOIN LATERAL (VALUES
        ('prediction', extract(epoch FROM ready_at - submitted_at)::float8),
        ('waiting', extract(epoch FROM opened_at - ready_at)::float8),
        ('reading', extract(epoch FROM signed_at - opened_at)::float8),
        ('total', extract(epoch FROM signed_at - submitted_at)::float8)
    ) AS part(stage, seconds)
    WHERE seconds IS NOT NULL
    UNION ALL
    SELECT run.priority, NULL, part.stage, part.seconds
    FROM diagnosis_predictionrun run
    JOIN diagnosis_smearimage image ON image.id = run.image_id
    JOIN diagnosis_case c ON c.id = image.case_id
    CROSS JOIN LATERAL (VALUES
        ('image_waiting', extract(epoch FROM run.started_at - run.queued_at)::float8),
        ('image_running', extract(epoch FROM run.finished_at - run.started_at)::float8)
    ) AS part(stage, seconds)
    WHERE run.finished_at >= %(start)s AND run.finished_at < %(end)s AND run.started_at IS NOT NULL
      AND run.state IN ('succeeded', 'refused') AND c.site_id = ANY(%(sites)s::uuid[])
)
SELECT stage, priority, count(*) AS n,
       count(*) FILTER (WHERE seconds <= target_minutes * 60) AS within,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY seconds) AS p90,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
FROM took GROUP BY stage, priority
"""

PROBLEMS = """
SELECT run.state, reason.text AS reason, count(*) AS images
FROM diagnosis_predictionrun run
JOIN diagnosis_smearimage image ON image.id = run.image_id
JOIN diagnosis_case c ON c.id = image.case_id
CROSS JOIN LATERAL (
    SELECT jsonb_array_elements_text(
        CASE WHEN run.reasons = '[]'::jsonb THEN '["no reason given"]'::jsonb ELSE run.reasons END
    ) AS text WHERE run.state = 'refused'
    UNION ALL
    SELECT left(split_part(run.error, E'\\n', 1), 160) WHERE run.state = 'failed'
) reason
WHERE run.finished_at >= %(start)s AND run.finished_at < %(end)s AND run.state IN ('refused', 'failed')
  AND c.site_id = ANY(%(sites)s::uuid[])
GROUP BY run.state, reason.text ORDER BY images DESC, run.state, reason.text LIMIT 40
"""

WORKLOAD = """
SELECT coalesce(nullif(trim(reader.first_name || ' ' || reader.last_name), ''), reader.username) AS reader,
       count(*) AS cases, sum(images.n)::int AS images,
       count(*) FILTER (WHERE signed.priority = 0) AS stat,
       count(*) FILTER (WHERE signed.first_reader_id IS NOT NULL) AS second_reads,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM signed_at - opened_at)::float8) AS reading_p50
FROM signed
JOIN accounts_user reader ON reader.id = signed.signed_by_id
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM diagnosis_smearimage image
    WHERE image.case_id = signed.id AND image.withdrawn_at IS NULL
) images
GROUP BY reader.id, 1 ORDER BY cases DESC, reader LIMIT 60
"""
