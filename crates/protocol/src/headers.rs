//! Media type and header names of the agent protocol (contract, sections 1 and 8).

/// Media type of every request and response body under `/api/agent/`.
pub const MEDIA_TYPE: &str = "application/vnd.vworkspace.agent.v1+json";

/// One uuid per operator process; a changed one tells the server that open jobs need to be offered again.
pub const SESSION: &str = "x-vworkspace-session";

/// Comma list of the optional members and behaviours the agent understands.
pub const CAPABILITIES: &str = "x-vworkspace-capabilities";

/// What this build's agent announces in [`CAPABILITIES`].
pub const AGENT_CAPABILITIES: &str =
    "status, wait-for, deadline, conflicts, registration-id, transition-identity, values-text";

/// Capability: `values.source: text` of an ApplicationInstance.
pub const VALUES_TEXT: &str = "values-text";

/// Start of a capability: the first 16 hex digits of SHA-256 of the schema that the agent's build has for an
/// ApplicationInstance follow. A control plane that knows that schema refuses at enqueue what the cluster would refuse.
pub const SCHEMA_PREFIX: &str = "schema-";

/// Capability: the cluster refuses values that look like secrets. Without it a warning is all that comes of them.
pub const SECRETS_REFUSED: &str = "secrets-refused";

/// Additive, on the 204 to a batch of events: digest of the current conditions that the server holds of the cluster's
/// objects. The agent compares it with what it reported.
pub const REPORT_DIGEST: &str = "x-vworkspace-report-digest";

/// Echoed in the error body and the log line.
pub const REQUEST_ID: &str = "x-request-id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_announces_the_capabilities_of_the_contract() {
        let announced: Vec<_> = AGENT_CAPABILITIES.split(", ").collect();
        let contract = [
            "status",
            "wait-for",
            "deadline",
            "conflicts",
            "registration-id",
            "transition-identity",
            VALUES_TEXT,
        ];
        assert_eq!(announced, contract);
    }
}
