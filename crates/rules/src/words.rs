//! The words of a key: `rootPassword`, `DB_PASSWORD` and `db-password` are spelled alike here.

/// Last words of a secret's name.
const SECRETS: [&str; 13] = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passphrases",
    "passcode",
    "pwd",
    "pass",
    "token",
    "tokens",
    "apikey",
    "accesskey",
    "secretkey",
];
/// Words before `key` and `keys` that make a secret of it.
const KEYS: [&str; 14] = [
    "access",
    "account",
    "api",
    "auth",
    "deploy",
    "encryption",
    "hmac",
    "jwt",
    "license",
    "master",
    "private",
    "secret",
    "shared",
    "signing",
];
/// Words before `secret` that make a secret of it; after all others it is the name of a Secret.
const OWNERS: [&str; 17] = [
    "access",
    "api",
    "app",
    "application",
    "client",
    "consumer",
    "cookie",
    "encryption",
    "hash",
    "hmac",
    "jwt",
    "oauth",
    "oidc",
    "session",
    "shared",
    "signing",
    "webhook",
];
/// Words that say that an object is named.
const NAMES: [&str; 9] = ["existing", "from", "ref", "name", "key", "file", "path", "namespace", "kind"];

/// In lower case, without digits at the end.
pub(crate) struct Words(Vec<String>);

impl Words {
    /// Splits at signs and before capitals; a row of capitals is one word.
    pub(crate) fn of(key: &str) -> Self {
        let (mut words, mut before) = (vec![String::new()], None::<char>);
        let mut signs = key.chars().peekable();
        while let Some(sign) = signs.next() {
            let follows_small = before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit());
            let ends_row = before.is_some_and(char::is_uppercase)
                && signs.peek().is_some_and(|next| next.is_lowercase());
            let begins = sign.is_uppercase() && (follows_small || ends_row);
            if begins || !sign.is_alphanumeric() {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut().filter(|_| sign.is_alphanumeric()) {
                word.extend(sign.to_lowercase());
            }
            before = Some(sign);
        }
        let words = words
            .into_iter()
            .map(|word| word.trim_end_matches(|sign: char| sign.is_ascii_digit()).to_owned());
        Self(words.filter(|word| !word.is_empty()).collect())
    }

    /// Returns `true` if the value of such a key is a secret.
    pub(crate) fn name_a_secret(&self) -> bool {
        let words: Vec<&str> = self.0.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => false,
            [.., "proxy", "pass"] => false,
            ["secret"] => true,
            [.., owner, "secret"] => OWNERS.contains(owner),
            ["existing", ..] => false,
            [.., of, "key" | "keys"] => KEYS.contains(of) && !words.contains(&"existing"),
            [.., last] => SECRETS.contains(last),
        }
    }

    /// Returns `true` if the key names an object, or where in it something is.
    pub(crate) fn name_an_object(&self) -> bool {
        self.0.iter().any(|word| NAMES.contains(&word.as_str()) || word == "secret" || word == "enabled")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_in_every_spelling() {
        for key in ["dbPassword2", "DB_PASSWORD", "db-password", "DBPassword", "db.password"] {
            assert_eq!(Words::of(key).0, ["db", "password"], "{key}");
        }
        assert_eq!(Words::of("__").0, [""; 0]);
    }
}
