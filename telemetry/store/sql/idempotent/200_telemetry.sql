-- The flat record that people and the API ask for. Left joins on primary keys: a query that needs no column of
-- a dimension (count(*), say) does not pay for the join.

CREATE OR REPLACE VIEW telemetry AS
SELECT s.time AS timestamp,
       m.name AS metric_name,
       g.gpu_id,
       g.device,
       g.uuid,
       g.model_name,
       g.hostname,
       w.container,
       w.pod,
       w.namespace,
       s.value,
       labels_raw(w.template, m.name, g.gpu_id, g.device, g.uuid, g.model_name, g.hostname,
                  w.container, w.pod, w.namespace, g.labels) AS labels_raw
FROM samples s
LEFT JOIN gpus g USING (gpu)
LEFT JOIN metrics m USING (metric)
LEFT JOIN workloads w USING (workload);
COMMENT ON VIEW telemetry IS 'Every stored reading as the source gave it, labels_raw byte for byte.';
