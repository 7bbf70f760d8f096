//! Who calls: the App by its signed token, or its installation by a token that ends after an hour.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rsa::RsaPrivateKey;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _, LineEnding};
use serde::Deserialize;

/// The App's number.
pub const APP: u64 = 123_456;
/// The number of its installation in the repository.
pub const INSTALLATION: u64 = 55_001;

/// How long an installation's token is good, in seconds.
const TOKEN_LIFE: i64 = 3600;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The App.
    App,
    /// Its installation.
    Installation,
}

/// The App's key, and the tokens given away.
#[derive(Debug)]
pub struct Keys {
    private: String,
    public: DecodingKey,
    tokens: BTreeMap<String, i64>,
    given: u64,
}

#[derive(Deserialize)]
struct Claims {
    iss: serde_json::Value,
    iat: i64,
    exp: i64,
}

impl Keys {
    /// A fresh key.
    ///
    /// # Errors
    /// None can be made.
    pub fn new() -> Result<Self> {
        let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).context("an RSA key")?;
        let private = key.to_pkcs1_pem(LineEnding::LF)?.to_string();
        let public = key.to_public_key().to_pkcs1_pem(LineEnding::LF)?;
        let public = DecodingKey::from_rsa_pem(public.as_bytes())?;
        Ok(Self { private, public, tokens: BTreeMap::new(), given: 0 })
    }

    /// The private key, PEM, as GitHub gives it to the App's owner.
    #[must_use]
    pub fn private(&self) -> &str {
        &self.private
    }

    /// A new token for the installation, and when it ends.
    pub fn give(&mut self, now: i64) -> (String, i64) {
        self.given += 1;
        let token = format!("ghs_{:036}", self.given);
        let until = now + TOKEN_LIFE;
        self.tokens.insert(token.clone(), until);
        (token, until)
    }

    /// How many tokens were given.
    #[must_use]
    pub const fn given(&self) -> u64 {
        self.given
    }

    /// Ends every token, as an hour does.
    pub fn expire(&mut self) {
        self.tokens.clear();
    }

    /// Who this is, or what GitHub says instead.
    ///
    /// # Errors
    /// The sentence of the refusal.
    pub fn caller(&self, authorization: Option<&str>, now: i64) -> Result<Caller, String> {
        let given = authorization.ok_or("Requires authentication")?;
        let (scheme, token) = given.split_once(' ').ok_or("Bad credentials")?;
        let is_known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        if !is_known {
            return Err("Bad credentials".to_owned());
        }
        if let Some(until) = self.tokens.get(token) {
            return if now < *until { Ok(Caller::Installation) } else { Err("Bad credentials".to_owned()) };
        }
        if token.split('.').count() != 3 {
            return Err("Bad credentials".to_owned());
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_required_spec_claims(&["exp"]);
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.public, &validation)
            .map_err(|error| format!("A JSON web token could not be decoded: {error}"))?
            .claims;
        // A number, or the same in quotes.
        if ![serde_json::json!(APP), serde_json::json!(APP.to_string())].contains(&claims.iss) {
            return Err("'Issuer' claim ('iss') must be an Integer".to_owned());
        }
        if claims.iat > now {
            return Err(
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion \
                        was issued"
                    .to_owned(),
            );
        }
        if claims.exp > now + 600 {
            return Err("'Expiration time' claim ('exp') is too far in the future".to_owned());
        }
        Ok(Caller::App)
    }
}
