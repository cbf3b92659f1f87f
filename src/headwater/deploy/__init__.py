"""Files for running a project elsewhere: manifests for Kubernetes, applications for Flink there, container files."""
