//! What classic load balancers do toward an instance port, whichever listener leads there.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use weir_core::definition::ProxyVersion;
use weir_core::tls::PublicKey;

use crate::keys;
use crate::read::{Fields, Reader, items};
use crate::resolve::list;
use crate::tree::Node;

/// What is written of an instance port.
#[derive(Debug)]
pub(super) struct InstancePort<'n> {
    pub(super) node: &'n Node,
    /// Instances are told of their clients by it. Source: Classic Load Balancer, "Proxy protocol support".
    pub(super) proxy_protocol: Option<ProxyVersion>,
    /// Of these keys instances have to hold one. Source: Classic Load Balancer, "Back-end server authentication".
    pub(super) public_keys: Option<Arc<[PublicKey]>>,
}

/// Reads a classic load balancer's `instance_ports`.
pub(super) fn read<'n>(fields: Fields<'n>, reader: &mut Reader<'_>) -> BTreeMap<u16, InstancePort<'n>> {
    let mut ports = BTreeMap::new();
    for node in list(fields, "instance_ports") {
        let Some(fields) = reader.fields(node, &keys::INSTANCE_PORT) else { continue };
        let port =
            fields.require(reader, "port", "8082").and_then(|node| reader.number(node, 1..=65_535_u16));
        let is_told = fields.get("proxy_protocol").and_then(|node| reader.boolean(node)).unwrap_or(false);
        let written = InstancePort {
            node,
            proxy_protocol: is_told.then_some(ProxyVersion::V1),
            public_keys: fields.get("public_keys").map(|node| public_keys(node, reader)),
        };
        if let Some(port) = port
            && ports.insert(port, written).is_some()
        {
            let cause = format!("instance port {port} is written twice");
            reader.problem(node, &cause, Some("write all about it in one place"));
        }
    }
    ports
}

fn public_keys(node: &Node, reader: &mut Reader<'_>) -> Arc<[PublicKey]> {
    if items(node).is_empty() {
        reader.problem(node, "nobody holds one of no keys", Some("write a key, or take it out"));
    }
    items(node).iter().filter_map(|node| public_key(node, reader)).collect()
}

/// A public key, in PEM or the base64 inside of that.
fn public_key(node: &Node, reader: &mut Reader<'_>) -> Option<PublicKey> {
    /// The tag of an ASN.1 sequence, which every `SubjectPublicKeyInfo` is.
    const SEQUENCE: u8 = 0x30;
    let text = reader.text(node)?;
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    let base64: String = lines.flat_map(str::split_whitespace).collect();
    match BASE64_STANDARD.decode(base64) {
        Ok(der) if der.first() == Some(&SEQUENCE) => Some(PublicKey(der.into())),
        _ => {
            let remedy = "write the key itself, as `openssl x509 -in instance.pem -pubkey -noout` prints it; no file is read";
            reader.problem(node, "this is not a public key", Some(remedy));
            None
        }
    }
}
