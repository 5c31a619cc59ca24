{{/* What all our pods have. */}}
{{- define "dpucsi.podDefaults" -}}
enableServiceLinks: false
# A service lets its running calls end for 20 s, and the operations behind them for another 20 s.
terminationGracePeriodSeconds: 60
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where a pod may run: one of .Values.controller, .host, .dpu. */}}
{{- define "dpucsi.placement" -}}
priorityClassName: {{ .priorityClassName }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A container that needs nothing of the machine but what is mounted into it. */}}
{{- define "dpucsi.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Certificates are a whole folder, so that a renewed one arrives in a running pod. */}}
{{- define "dpucsi.tlsArgs" -}}
{{- if eq .Values.tls.mode "insecure" -}}
- --insecure
{{- else -}}
- --tls-ca=/etc/dpucsi/tls/ca.crt
- --tls-cert=/etc/dpucsi/tls/tls.crt
- --tls-key=/etc/dpucsi/tls/tls.key
{{- end -}}
{{- end -}}

{{- define "dpucsi.tlsMount" -}}
{{- if ne .Values.tls.mode "insecure" -}}
- {name: tls, mountPath: /etc/dpucsi/tls, readOnly: true}
{{- end -}}
{{- end -}}

{{/* (list . "secret name") */}}
{{- define "dpucsi.tlsVolume" -}}
{{- if ne (index . 0).Values.tls.mode "insecure" -}}
- name: tls
  secret: {secretName: {{ index . 1 }}, defaultMode: 0400}
{{- end -}}
{{- end -}}

{{/* gRPC health of one of our services by its unix socket: (list . "unix:///path"). */}}
{{- define "dpucsi.healthProbe" -}}
exec:
  command: [dpucsi-health, "--endpoint={{ index . 1 }}"]
{{- end -}}

{{- define "dpucsi.startAndReady" -}}
{{- $root := . -}}
{{- $probes := (index . 0).Values.probes -}}
startupProbe:
  {{- include "dpucsi.healthProbe" . | nindent 2 }}
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  periodSeconds: {{ $probes.startup.periodSeconds }}
  failureThreshold: {{ $probes.startup.failureThreshold }}
{{- with $probes.readiness }}
readinessProbe:
  {{- include "dpucsi.healthProbe" $root | nindent 2 }}
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  periodSeconds: {{ .periodSeconds }}
  failureThreshold: {{ .failureThreshold }}
{{- end }}
{{- end -}}

{{- define "dpucsi.liveness" -}}
{{- $probes := (index . 0).Values.probes -}}
livenessProbe:
  {{- include "dpucsi.healthProbe" . | nindent 2 }}
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  periodSeconds: {{ $probes.liveness.periodSeconds }}
  failureThreshold: {{ $probes.liveness.failureThreshold }}
{{- end -}}

{{/* All three, for a service of the DPU. */}}
{{- define "dpucsi.probes" -}}
{{ include "dpucsi.startAndReady" . }}
{{ include "dpucsi.liveness" . }}
{{- end -}}

{{/* All three for a CSI service, whose liveness the livenessprobe sidecar tells where there is one:
(list . "unix:///csi/csi.sock" <port> <address or "">) */}}
{{- define "dpucsi.csiProbes" -}}
{{- $values := (index . 0).Values -}}
{{ include "dpucsi.startAndReady" . }}
{{ if not $values.sidecars.livenessProbe.enabled -}}
{{ include "dpucsi.liveness" . }}
{{- else -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: {{ index . 2 }}
    {{- with index . 3 }}
    host: {{ . }}
    {{- end }}
  timeoutSeconds: {{ $values.probes.timeoutSeconds }}
  periodSeconds: {{ $values.probes.liveness.periodSeconds }}
  failureThreshold: {{ $values.probes.liveness.failureThreshold }}
{{- end -}}
{{- end -}}

{{/* The livenessprobe sidecar: (list . <port> <address or "">) */}}
{{- define "dpucsi.livenessSidecar" -}}
{{- $values := (index . 0).Values -}}
- name: livenessprobe
  image: {{ $values.sidecars.livenessProbe.image }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  args:
    - --csi-address=/csi/csi.sock
    - --http-endpoint={{ index . 2 }}:{{ index . 1 }}
    - --probe-timeout={{ $values.probes.timeoutSeconds }}s
    - --v={{ $values.sidecars.logLevel }}
  {{- include "dpucsi.confined" (index . 0) | nindent 2 }}
  volumeMounts:
    - {name: csi, mountPath: /csi}
  resources:
    {{- toYaml $values.sidecars.livenessProbe.resources | nindent 4 }}
{{- end -}}

{{/* A sidecar of the controller: (list . "csi-provisioner" <its values> <port> (list "--option" …)) */}}
{{- define "dpucsi.sidecar" -}}
{{- $root := index . 0 -}}
{{- $sidecar := index . 2 -}}
- name: {{ index . 1 }}
  image: {{ $sidecar.image }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args:
    - --csi-address=/csi/csi.sock
    # Not with ReleaseLeaderElectionOnExit: csi-controller counts on the attacher's Lease to run out by itself.
    - --leader-election
    - --leader-election-namespace=$(NAMESPACE)
    - --http-endpoint=:{{ index . 3 }}
    - --timeout={{ $root.Values.sidecars.timeout }}
    - --retry-interval-max={{ $root.Values.sidecars.retryIntervalMax }}
    - --kube-api-qps=50
    - --kube-api-burst=100
    {{- range index . 4 }}
    - {{ . }}
    {{- end }}
    - --v={{ $root.Values.sidecars.logLevel }}
    {{- with $sidecar.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  livenessProbe:
    httpGet: {path: /healthz/leader-election, port: {{ index . 3 }}}
    initialDelaySeconds: 10
    timeoutSeconds: 10
    periodSeconds: 20
  {{- include "dpucsi.confined" $root | nindent 2 }}
  volumeMounts:
    - {name: csi, mountPath: /csi}
  resources:
    {{- toYaml $sidecar.resources | nindent 4 }}
{{- end -}}
