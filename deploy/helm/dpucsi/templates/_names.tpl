{{/* The release's own name: "dpucsi" for a release of that name, otherwise "<release>-dpucsi". */}}
{{- define "dpucsi.name" -}}
{{- if contains "dpucsi" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-dpucsi" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "dpucsi.labels" -}}
app.kubernetes.io/name: dpucsi
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What a workload's pods are selected by: (list . "controller"). Never changes. */}}
{{- define "dpucsi.selector" -}}
app.kubernetes.io/name: dpucsi
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "dpucsi.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "dpucsi.clusterId" -}}
{{- required "clusterId is missing: the UUID that every volume's identity comes from. It must be unique and must never change. Take that of the kube-system namespace: kubectl get namespace kube-system -o jsonpath={.metadata.uid}" .Values.clusterId -}}
{{- end -}}

{{/* The Lease name that a sidecar makes of a driver name. */}}
{{- define "dpucsi.leaseSuffix" -}}
{{- regexReplaceAll "[^a-zA-Z0-9-]" .Values.driverName "-" -}}
{{- end -}}

{{/* The file of --backends. JSON's texts, numbers and lists of them are TOML's too. */}}
{{- define "dpucsi.backends" -}}
{{- range $name, $table := .Values.backends -}}
[{{ $name }}]
{{ range $key, $value := $table -}}
{{ $key }} = {{ toJson $value }}
{{ end }}
{{ end -}}
{{- end -}}
