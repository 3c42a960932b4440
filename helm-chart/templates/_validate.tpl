{{/*
Values that contradict each other are refused, by their path and with the remedy. What one value alone may be is said in
values.schema.json.
*/}}

{{- define "telemetry.refuse" -}}
{{- fail (printf "\n\n%s: %s\n" (index . 0) (index . 1)) -}}
{{- end }}

{{- define "telemetry.validate" -}}
{{- include "telemetry.validateRedis" . -}}
{{- include "telemetry.validatePostgres" . -}}
{{- include "telemetry.validateSource" . -}}
{{- include "telemetry.validateApi" . -}}
{{- include "telemetry.validateScaling" . -}}
{{- include "telemetry.validateGrace" . -}}
{{- include "telemetry.validateRetention" (.Values.retention | default dict) -}}
{{- include "telemetry.validateLabels" . -}}
{{- include "telemetry.validateResources" . -}}
{{- include "telemetry.validateVolumes" . -}}
{{- end }}

{{- define "telemetry.validateRedis" -}}
{{- $redis := .Values.redis | default dict -}}
{{- if include "telemetry.own" (list . "redis") -}}
{{- if $redis.url -}}
{{- include "telemetry.refuse" (list "redis.url" "it names another Redis, but redis.enabled=true brings one; set redis.enabled=false, or leave redis.url empty") -}}
{{- end -}}
{{- $need := include "telemetry.queueBytes" . | int64 -}}
{{- if lt (include "telemetry.redisBytes" . | int64) $need -}}
{{- include "telemetry.refuse" (list "redis.maxmemory" (printf "%v is less than a full queue takes (queue.capacity x queue.maxBytes and a quarter more: %d bytes); raise it, leave it empty, or lower queue.capacity" $redis.maxmemory $need)) -}}
{{- end -}}
{{- range splitList "\n" ($redis.extraConfig | default "") -}}
{{- $word := regexFind "^[a-z-]+" (trim . | lower) -}}
{{- $remedies := dict "maxmemory" "set redis.maxmemory" "maxmemory-policy" "any other than noeviction throws queued messages away" "appendonly" "without it a restart empties the queue" "appendfsync" "set redis.appendfsync" "port" "set redis.port" "dir" "the volume is at /data" "requirepass" "the password is in a Secret, see redis.existingSecret" -}}
{{- if hasKey $remedies $word -}}
{{- include "telemetry.refuse" (list "redis.extraConfig" (printf "%s is the chart's to say, and would be said twice: %s; leave the line out" $word (get $remedies $word))) -}}
{{- end -}}
{{- end -}}
{{- else if and $redis.url $redis.existingSecret -}}
{{- include "telemetry.refuse" (list "redis.url" "redis.existingSecret is set too; leave one of them empty") -}}
{{- else if not (or $redis.url $redis.existingSecret) -}}
{{- include "telemetry.refuse" (list "redis.url" "with redis.enabled=false nothing says where the queue is; set redis.url (redis://..), or redis.existingSecret (a Secret with the key url)") -}}
{{- end -}}
{{- end }}

{{- define "telemetry.validatePostgres" -}}
{{- $root := . -}}
{{- $postgres := .Values.postgres | default dict -}}
{{- if has (dig "user" "gpu" $postgres) (list "telemetry_writer" "telemetry_reader") -}}
{{- include "telemetry.refuse" (list "postgres.user" (printf "%s is what streamers, collectors or the API log in as, and the owner must be another; leave it at gpu" $postgres.user)) -}}
{{- end -}}
{{- $own := include "telemetry.own" (list . "postgres") -}}
{{- $image := include "telemetry.postgresImage" $postgres -}}
{{- if and $own (regexMatch "-pg1[0-6]\\b" $image) (contains "builtin" (dig "initdbArgs" "--locale-provider=builtin" $postgres)) -}}
{{- include "telemetry.refuse" (list "postgres.initdbArgs" (printf "PostgreSQL knows --locale-provider=builtin from 17 on, and %s is older; set it to --data-checksums --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8, or take an image -pg17 or -pg18" (trimPrefix "image: " $image))) -}}
{{- end -}}
{{- range list "owner" "writer" "reader" -}}
{{- $said := get $postgres . | default dict -}}
{{- if and $own $said.url -}}
{{- include "telemetry.refuse" (list (printf "postgres.%s.url" .) (printf "it names another database, but postgres.enabled=true brings one; set postgres.enabled=false, or leave postgres.%s.url empty" .)) -}}
{{- else if and $said.url $said.existingSecret -}}
{{- include "telemetry.refuse" (list (printf "postgres.%s.url" .) (printf "postgres.%s.existingSecret is set too; leave one of them empty" .)) -}}
{{- end -}}
{{- $login := include "telemetry.loginValues" (list $root .) | fromYaml -}}
{{- $needed := or (ne . "owner") (include "telemetry.migrates" $root) -}}
{{- if and $needed (not $own) (not (or $login.url $login.existingSecret)) -}}
{{- include "telemetry.refuse" (list (printf "postgres.%s" .) (printf "with postgres.enabled=false nothing says how the %s logs in; set postgres.%s.url (postgresql://user:password@host:5432/db), or postgres.%s.existingSecret (a Secret with the key %s); one for the owner serves all%s" . . . ($said.key | default "url") (ternary ", and postgres.migration.enabled=false needs none for the owner" "" (eq . "owner")))) -}}
{{- end -}}
{{- end -}}
{{- if and (not $own) (include "telemetry.givesLogins" .) (or (eq (include "telemetry.login" (list . "writer")) "owner") (eq (include "telemetry.login" (list . "reader")) "owner") (eq (include "telemetry.login" (list . "reader")) "writer")) -}}
{{- include "telemetry.refuse" (list "postgres.migration.logins" "writer and reader need logins of their own to be given passwords; set postgres.writer and postgres.reader, or postgres.migration.logins=false") -}}
{{- end -}}
{{- end }}

{{- define "telemetry.validateSource" -}}
{{- $source := include "telemetry.source" . | fromYaml -}}
{{- $url := $source.url | default dict -}}
{{- if and (include "telemetry.claimed" .) (include "telemetry.fetches" .) -}}
{{- include "telemetry.refuse" (list "streamer.source" "pvc.claimName and url both name a source; leave one of them empty") -}}
{{- end -}}
{{- if and $source.file (ne $source.file "/data/dcgm.csv") (or (include "telemetry.claimed" .) (include "telemetry.fetches" .)) -}}
{{- include "telemetry.refuse" (list "streamer.source.file" "pvc.claimName or url names a source too; leave one of them empty") -}}
{{- end -}}
{{- if and $url.address $url.existingSecret -}}
{{- include "telemetry.refuse" (list "streamer.source.url.address" "streamer.source.url.existingSecret is set too; leave one of them empty") -}}
{{- end -}}
{{- if regexMatch "^[a-z]+://[^/]*@" ($url.address | default "") -}}
{{- include "telemetry.refuse" (list "streamer.source.url.address" "it holds a login, which everybody who sees the pod would see; put it into a Secret with the key address, and name that in streamer.source.url.existingSecret") -}}
{{- end -}}
{{- if and (or $url.sha256 "") (not (include "telemetry.fetches" .)) -}}
{{- include "telemetry.refuse" (list "streamer.source.url.sha256" "nothing is fetched; set streamer.source.url.address, or leave it empty") -}}
{{- end -}}
{{- end }}

{{- define "telemetry.validateApi" -}}
{{- $api := .Values.api | default dict -}}
{{- $auth := $api.auth | default dict -}}
{{- $on := dig "enabled" true $auth -}}
{{- if and (not $on) $auth.existingSecret -}}
{{- include "telemetry.refuse" (list "api.auth.existingSecret" "api.auth.enabled=false lets everybody ask; set api.auth.enabled=true, or leave it empty") -}}
{{- end -}}
{{- if include "telemetry.makesTokens" . -}}
{{- $tokens := include "telemetry.tokens" . | fromYamlArray -}}
{{- if not $tokens -}}
{{- include "telemetry.refuse" (list "api.auth.tokens" "nobody could ask; name a token, or set api.auth.existingSecret, or api.auth.enabled=false to let everybody ask") -}}
{{- end -}}
{{- $names := list -}}
{{- range $tokens -}}
{{- if has .name $names -}}
{{- include "telemetry.refuse" (list "api.auth.tokens" (printf "two tokens have the name %s; give one of them another" .name)) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- if and (not $on) (has "*" ($api.corsOrigins | default list)) -}}
{{- include "telemetry.refuse" (list "api.corsOrigins" "with api.auth.enabled=false any page that a browser opens could ask; name the origins, or set api.auth.enabled=true") -}}
{{- end -}}
{{- $service := $api.service | default dict -}}
{{- $type := dig "type" "ClusterIP" $service -}}
{{- if and $service.nodePort (eq $type "ClusterIP") -}}
{{- include "telemetry.refuse" (list "api.service.nodePort" "a Service of type ClusterIP has none; set api.service.type=NodePort, or leave it at 0") -}}
{{- end -}}
{{- if and $service.loadBalancerSourceRanges (ne $type "LoadBalancer") -}}
{{- include "telemetry.refuse" (list "api.service.loadBalancerSourceRanges" (printf "nothing heeds it in a Service of type %s; set api.service.type=LoadBalancer, or leave it empty" $type)) -}}
{{- end -}}
{{- $ingress := $api.ingress | default dict -}}
{{- if and $ingress.enabled (not $ingress.hosts) -}}
{{- include "telemetry.refuse" (list "api.ingress.hosts" "the ingress needs a host; set api.ingress.hosts=[telemetry.example.org], or api.ingress.enabled=false") -}}
{{- end -}}
{{- if and $ingress.enabled (ne ($ingress.path | default "/") "/") (not $ingress.annotations) -}}
{{- include "telemetry.refuse" (list "api.ingress.path" (printf "the API knows no path %s and would answer 404; leave it at / with a host of its own, or set the api.ingress.annotations by which your controller takes it off" $ingress.path)) -}}
{{- end -}}
{{- include "telemetry.validateRoute" ($api.httpRoute | default dict) -}}
{{- end }}

{{- define "telemetry.validateRoute" -}}
{{- $gateway := .gateway | default dict -}}
{{- if and .enabled (not .parentRefs) (not $gateway.className) -}}
{{- include "telemetry.refuse" (list "api.httpRoute.parentRefs" "the route needs a gateway; name one that exists ([{name: .., namespace: ..}]), or set api.httpRoute.gateway.className to have one made") -}}
{{- end -}}
{{- if and .enabled $gateway.className (not (and $gateway.tlsSecret .hostnames)) -}}
{{- include "telemetry.refuse" (list "api.httpRoute.gateway.className" "a gateway of its own needs names and a certificate for them; set api.httpRoute.hostnames and api.httpRoute.gateway.tlsSecret") -}}
{{- end -}}
{{- end }}

{{- define "telemetry.validateScaling" -}}
{{- $keda := dig "keda" dict (.Values.collector | default dict) -}}
{{- if $keda.enabled -}}
{{- include "telemetry.validateRange" (list "collector.keda.minReplicas" (dig "minReplicas" 1 $keda) "collector.keda.maxReplicas" (dig "maxReplicas" 8 $keda)) -}}
{{- if not (or $keda.triggers (include "telemetry.own" (list . "redis"))) -}}
{{- include "telemetry.refuse" (list "collector.keda.triggers" "with redis.enabled=false the chart does not know where KEDA finds the queue; write the trigger (type redis-streams, redis-sentinel-streams or redis-cluster-streams, with streamLength and without consumerGroup)") -}}
{{- end -}}
{{- end -}}
{{- $scaling := dig "autoscaling" dict (.Values.api | default dict) -}}
{{- if $scaling.enabled -}}
{{- include "telemetry.validateRange" (list "api.autoscaling.minReplicas" (dig "minReplicas" 2 $scaling) "api.autoscaling.maxReplicas" (dig "maxReplicas" 6 $scaling)) -}}
{{- end -}}
{{- end }}

{{/* A pod that is killed before it has drained leaves its work to others, a lease later. */}}
{{- define "telemetry.validateGrace" -}}
{{- $values := .Values -}}
{{- $lease := dig "lease" 15 (.Values.queue | default dict) -}}
{{- range $role, $default := dict "streamer" 60 "collector" 90 -}}
{{- $grace := dig "terminationGracePeriodSeconds" $default (get $values $role | default dict) -}}
{{- if le ($grace | float64) (addf $lease 5) -}}
{{- include "telemetry.refuse" (list (printf "%s.terminationGracePeriodSeconds" $role) (printf "%v is too short: a pod may wait as long as queue.lease (%v s) before it ends, and some seconds more; set it to more than %v, or lower queue.lease" $grace $lease (addf $lease 5))) -}}
{{- end -}}
{{- end -}}
{{- $grace := dig "terminationGracePeriodSeconds" 45 (.Values.api | default dict) -}}
{{- if le ($grace | int) 30 -}}
{{- include "telemetry.refuse" (list "api.terminationGracePeriodSeconds" (printf "%v is too short: requests under way have 25 s, after 5 s in which proxies learn of the end; set it to more than 30" $grace)) -}}
{{- end -}}
{{- end }}

{{/* Rollups are made of readings, and cannot go before them. */}}
{{- define "telemetry.validateRetention" -}}
{{- $readings := dig "readings" "auto" . | toString -}}
{{- $rollups := dig "rollups" "none" . | toString -}}
{{- $days := ternary "7" $readings (eq $readings "auto") -}}
{{- if and (ne $rollups "none") (or (eq $days "none") (lt ($rollups | float64) ($days | float64))) -}}
{{- include "telemetry.refuse" (list "retention.rollups" (printf "%s days are fewer than those of retention.readings (%s); set it to more, or to none" $rollups $readings)) -}}
{{- end -}}
{{- end }}

{{/* Labels of the chart's own are what selects pods; a second one of a name would be no YAML. */}}
{{- define "telemetry.validateLabels" -}}
{{- $own := include "telemetry.ownLabels" (list . "any") | fromYaml -}}
{{- $given := dict "commonLabels" (.Values.commonLabels | default dict) -}}
{{- range list "streamer" "collector" "api" "redis" "postgres" -}}
{{- $_ := set $given (printf "%s.podLabels" .) ((get $.Values . | default dict).podLabels | default dict) -}}
{{- end -}}
{{- range $path, $labels := $given -}}
{{- range $name, $_ := $labels -}}
{{- if or (hasKey $own $name) (and (ne $path "commonLabels") (hasKey (get $given "commonLabels") $name)) -}}
{{- include "telemetry.refuse" (list $path (printf "%s is a label that is set already; give yours another name" $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* (list path least path most) */}}
{{- define "telemetry.validateRange" -}}
{{- if gt (index . 1 | int) (index . 3 | int) -}}
{{- include "telemetry.refuse" (list (index . 0) (printf "%v is more than %s (%v); raise that, or lower it" (index . 1) (index . 2) (index . 3))) -}}
{{- end -}}
{{- end }}

{{/* "yes" where browsers come by HTTPS. */}}
{{- define "telemetry.behindTls" -}}
{{- $api := .Values.api | default dict -}}
{{- $said := dig "behindTls" "auto" $api | toString -}}
{{- $ingress := and (dig "ingress" "enabled" false $api) (dig "ingress" "tlsSecret" "" $api) -}}
{{- $gateway := and (dig "httpRoute" "enabled" false $api) (dig "httpRoute" "gateway" "className" "" $api) -}}
{{- if or (eq $said "true") (and (eq $said "auto") (or $ingress $gateway)) }}yes{{ end -}}
{{- end }}
