//! Not shipped: a real Kubernetes on loopback for tests and the demo, and a stand-in for Flux's controllers.
