use super::{plain, table::table, text::when};
use vworkspace_protocol::admin::{ApiToken, ApiTokenPage, RegistrationToken, RegistrationTokenPage};

pub(crate) fn api_tokens(page: &ApiTokenPage) -> String {
    let row = |token: &ApiToken| [token.id.to_string(), plain(&token.description), when(token.created_at)];
    table(["ID", "DESCRIPTION", "CREATED"], page.items.iter().map(row))
}

pub(crate) fn registration_tokens(page: &RegistrationTokenPage) -> String {
    let row =
        |token: &RegistrationToken| [token.id.to_string(), when(token.created_at), when(token.expires_at)];
    table(["ID", "CREATED", "EXPIRES"], page.items.iter().map(row))
}
