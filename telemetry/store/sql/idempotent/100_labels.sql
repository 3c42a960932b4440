-- labels_raw, written back byte for byte from a label set (telemetry/streamer/sources/labels.py takes it apart).
-- A mark is chr(1) and a letter; no label may hold chr(1).

CREATE OR REPLACE FUNCTION labels_template(labels jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog AS $$
    SELECT CASE jsonb_typeof(labels)
        WHEN 'string' THEN labels #>> '{}'
        ELSE coalesce((
            SELECT string_agg(
                key || '="' || coalesce(
                    replace(replace(replace(value, '\', '\\'), '"', '\"'), E'\n', '\n'),
                    chr(1) || CASE key
                        WHEN '__name__' THEN 'n'
                        WHEN 'UUID' THEN 'u' WHEN 'uuid' THEN 'u'
                        WHEN 'gpu' THEN 'g'
                        WHEN 'device' THEN 'd'
                        WHEN 'modelName' THEN 'm' WHEN 'model_name' THEN 'm'
                        WHEN 'Hostname' THEN 'h' WHEN 'hostname' THEN 'h'
                        WHEN 'container' THEN 'c'
                        WHEN 'pod' THEN 'p'
                        WHEN 'namespace' THEN 's'
                        WHEN 'GPU_I_ID' THEN 'i'
                        WHEN 'GPU_I_PROFILE' THEN 'f'
                        ELSE '?'
                    END
                ) || '"', ',' ORDER BY key COLLATE "C")
            FROM jsonb_each_text(labels)), '')
    END
$$;

CREATE OR REPLACE FUNCTION labels_raw(
    template text, metric_name text, gpu_id text, device text, uuid text, model_name text, hostname text,
    container text, pod text, namespace text, mig jsonb
) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN position(chr(1) IN template) = 0 THEN template ELSE
        replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(
            template,
            chr(1) || 'n', metric_name), chr(1) || 'u', uuid), chr(1) || 'g', gpu_id), chr(1) || 'd', device),
            chr(1) || 'm', model_name), chr(1) || 'h', hostname), chr(1) || 'c', container), chr(1) || 'p', pod),
            chr(1) || 's', namespace), chr(1) || 'i', coalesce(mig ->> 'GPU_I_ID', '')),
            chr(1) || 'f', coalesce(mig ->> 'GPU_I_PROFILE', '')), chr(1) || '?', '')
    END
$$;
