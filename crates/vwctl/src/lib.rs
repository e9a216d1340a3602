//! vwctl: the control plane from the command line.
