// The CRDs of cert-manager, for the server-side dry run of the chart; no program of it is built. (`go mod tidy` would
// drop it: to raise the version, edit the line and run `go mod download`.)
module dpucsi-tools/cert-manager

go 1.26.0

require github.com/cert-manager/cert-manager v1.21.2
