//! Keys, certificates and tokens of one cluster, made anew for each run.

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// Who talks to the API server with a token of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// A member of `system:masters`: the cluster's admin; also kwok.
    Admin,
    /// With the rights that Kubernetes itself gives it.
    ControllerManager,
    /// With the rights that Kubernetes itself gives it.
    Scheduler,
}

impl User {
    const ALL: [Self; 3] = [Self::Admin, Self::ControllerManager, Self::Scheduler];

    /// Name to RBAC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ControllerManager => "system:kube-controller-manager",
            Self::Scheduler => "system:kube-scheduler",
        }
    }

    const fn groups(self) -> &'static str {
        match self {
            Self::Admin => ",\"system:masters\"",
            Self::ControllerManager | Self::Scheduler => "",
        }
    }
}

/// Files and tokens.
pub(super) struct Credentials {
    /// The authority that signed `certificate`, PEM.
    pub ca_pem: String,
    /// File of the same.
    pub ca: PathBuf,
    /// The API server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What signs tokens of service accounts.
    pub signing_key: PathBuf,
    /// What checks them.
    pub checking_key: PathBuf,
    /// The API server's list of users.
    pub tokens: PathBuf,
    by_user: [String; User::ALL.len()],
}

impl Credentials {
    /// Makes all of them in `dir`.
    pub fn make(dir: &Path) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "testbed");
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc", "10.0.0.1"];
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names.map(str::to_owned))?.signed_by(&key, &issuer)?;

        let (mut list, mut by_user) = (String::new(), [const { String::new() }; User::ALL.len()]);
        for (user, kept) in User::ALL.into_iter().zip(&mut by_user) {
            *kept = token()?;
            writeln!(list, "{kept},{0},{0}{1}", user.name(), user.groups())?;
        }
        let file = |name: &str, content: &str| {
            let path = dir.join(name);
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        let (ca_pem, signing) = (issuer.pem(), KeyPair::generate()?);
        Ok(Self {
            ca: file("ca.crt", &ca_pem)?,
            ca_pem,
            certificate: file("apiserver.crt", &certificate.pem())?,
            key: file("apiserver.key", &key.serialize_pem())?,
            signing_key: file("service-account.key", &signing.serialize_pem())?,
            checking_key: file("service-account.pub", &signing.public_key_pem())?,
            tokens: file("tokens.csv", &list)?,
            by_user,
        })
    }

    /// The token of `user`.
    pub fn token(&self, user: User) -> &str {
        let [admin, controller_manager, scheduler] = &self.by_user;
        match user {
            User::Admin => admin,
            User::ControllerManager => controller_manager,
            User::Scheduler => scheduler,
        }
    }
}

fn token() -> anyhow::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("no randomness")?;
    Ok(hex::encode(bytes))
}
