use super::{
    table::{fields, table},
    text::when,
};
use vworkspace_protocol::admin::{Organization, OrganizationPage, Role, Whoami};

pub(crate) fn organizations(page: &OrganizationPage) -> String {
    let name = |org: &Organization| match org.archived_at {
        Some(_) => format!("{} (archived)", org.name),
        None => org.name.clone(),
    };
    let row = |org: &Organization| [name(org), org.id.to_string(), when(org.created_at)];
    table(["NAME", "ID", "CREATED"], page.items.iter().map(row))
}

pub(crate) fn organization(org: &Organization) -> String {
    fields([
        ("name", org.name.clone()),
        ("id", org.id.to_string()),
        ("created", when(org.created_at)),
        ("archived", org.archived_at.map(when).unwrap_or_default()),
    ])
}

pub(crate) fn whoami(whoami: &Whoami) -> String {
    let role = match whoami.role {
        Role::Admin => "admin",
        Role::Organization => "organization",
    };
    fields([
        ("role", role.to_owned()),
        ("organization", whoami.organization_id.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("token", super::plain(&whoami.description)),
        ("server", super::plain(&whoami.server_version)),
    ])
}
