//! Not shipped to clusters: simulated agents that load a control plane, and the benchmarks.
