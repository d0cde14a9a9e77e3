"""A real Kubernetes API: kube-apiserver and etcd, and on demand the controllers and fake nodes that make pods run."""
