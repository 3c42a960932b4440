{{/* The volume of a StatefulSet: a claim of its own, one that is there, or nothing that lasts. */}}

{{/* In the pod; takes the component's values. */}}
{{- define "telemetry.dataVolume" -}}
{{- $persistence := .persistence | default dict -}}
{{- if not (dig "enabled" true $persistence) }}
- name: data
  emptyDir: {}
{{- else if $persistence.existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ $persistence.existingClaim }}
{{- end }}
{{- end }}

{{/* (list $ "redis" values size) */}}
{{- define "telemetry.dataClaim" -}}
{{- $root := index . 0 -}}
{{- $persistence := (index . 2).persistence | default dict -}}
{{- if and (dig "enabled" true $persistence) (not $persistence.existingClaim) }}
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: data
      labels:
        {{- include "telemetry.selector" (list $root (index . 1)) | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $persistence.storageClass }}
      storageClassName: {{ . | quote }}
      {{- end }}
      resources:
        requests:
          storage: {{ dig "size" (index . 3) $persistence }}
{{- end }}
{{- end }}
