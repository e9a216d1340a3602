//! Who may do what: one table, no effects.

use vworkspace_protocol::{ClusterId, id::OrganizationId};

/// Who asks, as established by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The installation's administrator: everything in every organization, except what is an agent's.
    Admin,
    /// A program or person of one tenant: everything within it.
    Organization(OrganizationId),
    /// The agent of one cluster: that cluster's job stream and nothing else.
    Agent(ClusterId),
}

/// What is asked for, coarse enough that each stands for one right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See it and list what is in it.
    Read,
    /// Hand in or withdraw intent: enqueue, cancel.
    Command,
    /// Make what it holds: organizations, clusters, tokens.
    Manage,
    /// Do the agent's side of the conversation: lease, ack, report, rotate.
    Serve,
}

/// What it is done on, with the owners that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The whole server; reading it lists what the actor may see.
    Installation,
    /// A tenant.
    Organization(&'a OrganizationId),
    /// A cluster, or anything that belongs to one: its jobs, events, resources.
    Cluster {
        /// The cluster.
        id: &'a ClusterId,
        /// The tenant it belongs to.
        organization: &'a OrganizationId,
    },
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go ahead.
    Allow,
    /// The actor may know it exists, but not do this (403).
    Forbid,
    /// For the actor it does not exist (404, equal to an id nobody ever issued).
    Hide,
}

/// Decides; `Hide` wherever the resource lies outside the actor's own tenant or cluster.
pub fn decide(actor: &Actor, action: Action, resource: Resource<'_>) -> Decision {
    match actor {
        Actor::Admin => allow_if(action != Action::Serve),
        Actor::Organization(own) => match resource {
            Resource::Installation => allow_if(action == Action::Read),
            Resource::Organization(organization) | Resource::Cluster { organization, .. } => {
                if organization == own { allow_if(action != Action::Serve) } else { Decision::Hide }
            }
        },
        Actor::Agent(own) => match resource {
            Resource::Installation => Decision::Forbid,
            Resource::Organization(_) => Decision::Hide,
            Resource::Cluster { id, .. } => {
                if id == own {
                    allow_if(action == Action::Serve)
                } else {
                    Decision::Hide
                }
            }
        },
    }
}

fn allow_if(allowed: bool) -> Decision {
    if allowed { Decision::Allow } else { Decision::Forbid }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: [Action; 4] = [Action::Read, Action::Command, Action::Manage, Action::Serve];

    #[test]
    fn whatever_lies_outside_the_own_tenant_is_hidden_for_every_action() {
        let (own, other) = (OrganizationId::new("o1"), OrganizationId::new("o2"));
        let (mine, theirs) = (ClusterId::new("c1"), ClusterId::new("c2"));
        for action in ACTIONS {
            let organization = Actor::Organization(own.clone());
            assert_eq!(decide(&organization, action, Resource::Organization(&other)), Decision::Hide);
            let cluster = Resource::Cluster { id: &mine, organization: &other };
            assert_eq!(decide(&organization, action, cluster), Decision::Hide);
            let agent = Actor::Agent(mine.clone());
            let neighbour = Resource::Cluster { id: &theirs, organization: &own };
            assert_eq!(decide(&agent, action, neighbour), Decision::Hide);
            assert_eq!(decide(&agent, action, Resource::Organization(&own)), Decision::Hide);
        }
    }

    #[test]
    fn only_the_clusters_own_agent_serves_it_and_does_nothing_else() {
        let (organization, id) = (OrganizationId::new("o"), ClusterId::new("c"));
        let cluster = Resource::Cluster { id: &id, organization: &organization };
        for actor in [Actor::Admin, Actor::Organization(organization.clone())] {
            assert_eq!(decide(&actor, Action::Serve, cluster), Decision::Forbid);
            assert_eq!(decide(&actor, Action::Command, cluster), Decision::Allow);
        }
        let agent = Actor::Agent(id.clone());
        assert_eq!(decide(&agent, Action::Serve, cluster), Decision::Allow);
        for action in [Action::Read, Action::Command, Action::Manage] {
            assert_eq!(decide(&agent, action, cluster), Decision::Forbid);
        }
    }

    #[test]
    fn tenants_read_the_installation_but_only_the_admin_makes_tenants() {
        let tenant = Actor::Organization(OrganizationId::new("o"));
        assert_eq!(decide(&tenant, Action::Read, Resource::Installation), Decision::Allow);
        assert_eq!(decide(&tenant, Action::Manage, Resource::Installation), Decision::Forbid);
        assert_eq!(decide(&Actor::Admin, Action::Manage, Resource::Installation), Decision::Allow);
    }
}
