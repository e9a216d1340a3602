//! What went wrong with the link last, for the Cluster's conditions.

use vworkspace_transport::LinkError;

/// What went wrong; empty while all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// For people.
    pub message: String,
    /// Set if something else than the control plane answered.
    pub foreign: Option<Foreign>,
}

/// What tells one foreign answer from another. Its body is not part of it: that may change with every try, and a
/// condition must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    status: u16,
    content_type: String,
}

impl Problem {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.message.is_empty() && self.foreign.is_none()
    }

    /// Takes the place of an earlier problem, unless it is the same foreign answer once more.
    pub fn replace(self, earlier: &mut Self) {
        let is_same = self.foreign.is_some() && self.foreign == earlier.foreign;
        if !is_same {
            *earlier = self;
        }
    }
}

impl From<&str> for Problem {
    fn from(message: &str) -> Self {
        Self { message: message.to_owned(), foreign: None }
    }
}

impl From<&LinkError> for Problem {
    fn from(error: &LinkError) -> Self {
        let foreign = match error {
            LinkError::Unexpected { status, content_type, .. } => {
                Some(Foreign { status: *status, content_type: content_type.clone() })
            }
            LinkError::Refused { .. } | LinkError::Unreachable { .. } | LinkError::Malformed { .. } => None,
        };
        Self { message: error.to_string(), foreign }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(status: u16, excerpt: &str) -> Problem {
        let (content_type, excerpt) = ("text/html".to_owned(), excerpt.to_owned());
        Problem::from(&LinkError::Unexpected { status, content_type, excerpt, retry_after: None })
    }

    #[test]
    fn foreign_answer_is_told_again_only_when_its_kind_changes() {
        let mut told = Problem::default();
        foreign(403, "request 1").replace(&mut told);
        assert!(told.message.contains("403") && told.message.contains("request 1"), "{told:?}");
        foreign(403, "request 2").replace(&mut told);
        assert!(told.message.contains("request 1"), "{told:?}");
        foreign(502, "request 3").replace(&mut told);
        assert!(told.message.contains("request 3"), "{told:?}");
        Problem::from("timed out").replace(&mut told);
        assert_eq!(told, Problem::from("timed out"));
    }
}
