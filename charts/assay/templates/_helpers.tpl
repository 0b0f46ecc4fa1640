{{- define "assay.name" -}}
{{- default (ternary "assay" (printf "%s-assay" .Release.Name) (contains "assay" .Release.Name)) .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "assay.operatorName" -}}
{{ include "assay.name" . }}-operator
{{- end -}}

{{- define "assay.serviceAccountName" -}}
{{- default (include "assay.operatorName" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Selectors are immutable: they hold nothing that an upgrade may change. */}}
{{- define "assay.selectorLabels" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* managed-by is helm, never assay: the operator takes objects labelled so for its own. */}}
{{- define "assay.labels" -}}
{{ include "assay.selectorLabels" . }}
app.kubernetes.io/part-of: assay
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image by registry, repository and digest, or tag. Takes registry, image, tag. */}}
{{- define "assay.image" -}}
{{- $name := .image.repository -}}
{{- if .registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" .registry) $name -}}{{- end -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ default .tag .image.tag }}
{{- end -}}
{{- end -}}

{{- define "assay.ownTag" -}}
{{- default .Chart.AppVersion .Values.image.tag -}}
{{- end -}}

{{- define "assay.operatorImage" -}}
{{- include "assay.image" (dict "registry" .Values.image.registry "image" .Values.operator.image "tag" (include "assay.ownTag" .)) -}}
{{- end -}}

{{- define "assay.minioName" -}}
{{ include "assay.name" . }}-minio
{{- end -}}

{{- define "assay.generatesSecret" -}}
{{- if and .Values.minio.enabled (not .Values.minio.existingSecret) -}}true{{- end -}}
{{- end -}}

{{/* The Secret with the store's keys; empty: the pods' own identity. */}}
{{- define "assay.credentialsSecret" -}}
{{- if .Values.minio.enabled -}}
{{- default (printf "%s-store" (include "assay.name" .)) .Values.minio.existingSecret -}}
{{- else -}}
{{- .Values.store.credentialsSecret -}}
{{- end -}}
{{- end -}}

{{- define "assay.storeEndpoint" -}}
{{- if .Values.minio.enabled -}}
http://{{ include "assay.minioName" . }}.{{ .Release.Namespace }}.svc:9000
{{- else -}}
{{- .Values.store.endpoint -}}
{{- end -}}
{{- end -}}

{{- define "assay.storeUrl" -}}
{{- default (printf "s3://%s/runs" .Values.minio.bucket) .Values.store.url -}}
{{- end -}}

{{/* The port in the endpoint's URL, or its scheme's. */}}
{{- define "assay.storePort" -}}
{{- $endpoint := include "assay.storeEndpoint" . -}}
{{- $port := regexFind ":[0-9]+$" (urlParse (default "https://aws" $endpoint)).host -}}
{{- if $port -}}{{ trimPrefix ":" $port }}{{- else if hasPrefix "http:" $endpoint -}}80{{- else -}}443{{- end -}}
{{- end -}}

{{/* Namespaces that get MinIO's generated credentials, the release's own first. */}}
{{- define "assay.secretNamespaces" -}}
{{- concat (list .Release.Namespace) .Values.watchNamespaces .Values.store.secretNamespaces | uniq | toJson -}}
{{- end -}}

{{- define "assay.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "assay.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "assay.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What the schema cannot say: values that contradict each other. */}}
{{- define "assay.check" -}}
{{- if .Values.minio.enabled -}}
{{- if .Values.store.endpoint -}}
{{- fail (printf "store.endpoint is %q, but minio.enabled is true: set minio.enabled=false to use a store of your own, or leave store.endpoint empty" .Values.store.endpoint) -}}
{{- end -}}
{{- if .Values.store.credentialsSecret -}}
{{- fail (printf "store.credentialsSecret is %q, but minio.enabled is true: name the Secret in minio.existingSecret, or set minio.enabled=false" .Values.store.credentialsSecret) -}}
{{- end -}}
{{- if and .Values.store.url (ne (urlParse .Values.store.url).host .Values.minio.bucket) -}}
{{- fail (printf "store.url is %q, but MinIO's bucket is %q: make them agree by minio.bucket" .Values.store.url .Values.minio.bucket) -}}
{{- end -}}
{{- else if not .Values.store.url -}}
{{- fail "store.url is empty and minio.enabled is false: set store.url=s3://BUCKET/PREFIX, or minio.enabled=true" -}}
{{- end -}}
{{- if not (hasKey .Values.nodePools .Values.cpuPool) -}}
{{- fail (printf "cpuPool is %q, nodePools has %s: name one of them" .Values.cpuPool (keys .Values.nodePools | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if and .Values.cache.hostPath .Values.cache.claim -}}
{{- fail (printf "cache.hostPath is %q, but cache.claim is %q: set one of the two" .Values.cache.hostPath .Values.cache.claim) -}}
{{- end -}}
{{- if and .Values.operator.priorityClassName .Values.priorityClass.create -}}
{{- fail (printf "operator.priorityClassName is %q, but priorityClass.create is true: choose one of the two" .Values.operator.priorityClassName) -}}
{{- end -}}
{{- end -}}
