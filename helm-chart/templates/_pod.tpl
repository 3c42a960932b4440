{{/* What pods have in common. Each takes (list $ "streamer" values), where values are those of the component. */}}

{{/* Metadata of a pod, without the chart's version, so that a new chart alone starts no pod anew; (list $ "streamer" values digests), digests being a map of annotations. */}}
{{- define "telemetry.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
labels:
  {{- include "telemetry.selector" (list $root (index . 1)) | nindent 2 }}
  {{- with $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ index . 1 }}
  {{- with index . 3 }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Fields of a pod's spec, but for its containers and volumes. */}}
{{- define "telemetry.pod" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
serviceAccountName: {{ include "telemetry.serviceAccount" $root }}
automountServiceAccountToken: false
# A Service telemetry-redis would bring TELEMETRY_REDIS_PORT, which is no setting.
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- include "telemetry.podSecurity" . | nindent 0 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "telemetry.podSecurity" -}}
{{- $role := dict "runAsNonRoot" true "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault") -}}
securityContext:
  {{- dig "podSecurityContext" $role (index . 2) | toYaml | nindent 2 }}
{{- end }}

{{/* securityContext of a container: (list $ "streamer" values). */}}
{{- define "telemetry.containerSecurity" -}}
{{- $strict := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
securityContext:
  {{- dig "securityContext" $strict (index . 2) | toYaml | nindent 2 }}
{{- end }}

{{/* Pods of a Deployment stand on different hosts where that is possible. */}}
{{- define "telemetry.spread" -}}
topologySpreadConstraints:
{{- with (index . 2).topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "telemetry.selector" (list (index . 0) (index . 1)) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{- define "telemetry.serviceAccount" -}}
{{- $account := .Values.serviceAccount | default dict -}}
{{- $account.name | default (ternary (include "telemetry.name" .) "default" (dig "create" true $account)) -}}
{{- end }}

{{/* resources: (list values default). */}}
{{- define "telemetry.resources" -}}
resources:
  {{- dig "resources" (index . 1 | fromYaml) (index . 0) | toYaml | nindent 2 }}
{{- end }}

{{/*
Probes of a process that serves its health at a port: (list "health"). Live: its loop turned within the last minute, by
its own clock. Ready says whether it works now, and never restarts anything. Hashing a large file counts as starting,
but the loop turns all the while, so that the first probe is answered at once.
*/}}
{{- define "telemetry.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/* PodDisruptionBudget of a Deployment: (list $ "streamer" values). */}}
{{- define "telemetry.pdb" -}}
{{- $pdb := (index . 2).pdb | default dict -}}
{{- if dig "enabled" true $pdb }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "telemetry.metadata" (list (index . 0) (index . 1)) | nindent 2 }}
spec:
  maxUnavailable: {{ dig "maxUnavailable" 1 $pdb }}
  # pods that are not ready hold up nobody's drain
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "telemetry.selector" (list (index . 0) (index . 1)) | nindent 6 }}
{{- end }}
{{- end }}
