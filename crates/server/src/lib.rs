//! vworkspace-server: the control plane. Identities, jobs, audit, isolation of tenants.
