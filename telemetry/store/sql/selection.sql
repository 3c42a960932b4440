-- The numbers of what a question selects. Parameters are psycopg's; a pattern that is NULL matches everything.

-- name: selected_gpus
SELECT gpu FROM gpus
WHERE (%(ids)s::text[] IS NULL OR id = ANY(%(ids)s::text[]))
  AND (%(host)s::text IS NULL OR hostname ILIKE %(host)s)
  AND (%(model)s::text IS NULL OR model_name ILIKE %(model)s)
ORDER BY gpu;

-- name: selected_workloads
SELECT workload FROM workloads
WHERE (%(namespace)s::text IS NULL OR namespace ILIKE %(namespace)s)
  AND (%(pod)s::text IS NULL OR pod ILIKE %(pod)s)
ORDER BY workload;

-- name: selected_metrics
SELECT metric FROM metrics WHERE name = ANY(%(names)s) OR canonical = ANY(%(canonicals)s) ORDER BY metric;
