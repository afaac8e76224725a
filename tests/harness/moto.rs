//! Moto, a server that speaks AWS's APIs, started by a test on a port of its own and ended with it.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::server::Running;
use crate::{Client, Folder, Reply, free_port, loopback};

/// Attempts to start the server on a free port that somebody else may take first.
const ATTEMPTS: usize = 5;

const REGION: &str = "us-east-1";

/// Writes a certificate for 127.0.0.1 and its key, with the library that moto itself needs.
const CERTIFICATE: &str = r#"
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weir-test")])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
    .sign(key, hashes.SHA256()))
pem = serialization.Encoding.PEM
open(sys.argv[1], "wb").write(certificate.public_bytes(pem))
open(sys.argv[2], "wb").write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
"#;

/// A running moto.
#[derive(Debug)]
pub struct Moto {
    running: Option<Running>,
    addr: SocketAddr,
    folder: Folder,
}

impl Moto {
    /// Starts one that speaks HTTP.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start() -> Self {
        let moto = Self::start_with(false);
        // Left to itself it brings a task a step nearer to its end whenever somebody asks how the task is.
        let forever = json!({ "progression": "manual", "times": 1_000_000 });
        let transition = json!({ "model_name": "ecs::task", "transition": forever }).to_string();
        let path = "/moto-api/state-manager/set-transition";
        let reply = moto.post(path, "ecs", "Content-Type: application/json", &transition);
        assert_eq!(reply.status, 201, "{}", reply.body);
        moto
    }

    /// Starts one that speaks HTTPS, with a certificate of its own. Only weir asks it.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start_tls() -> Self {
        Self::start_with(true)
    }

    fn start_with(is_tls: bool) -> Self {
        for _ in 0..ATTEMPTS {
            let mut moto = Self { running: None, addr: loopback(free_port()), folder: Folder::new() };
            let mut arguments = vec!["-p".to_owned(), moto.addr.port().to_string()];
            if is_tls {
                arguments.extend(moto.make_certificate());
            }
            let log = moto.folder.path().join("log");
            let mut running =
                Running::start(&program("moto_server"), "`cargo xtask test` installs it", &arguments, &log);
            let addr = moto.addr;
            if running.is_ready("moto answers", || TcpStream::connect(addr).is_ok()) {
                moto.running = Some(running);
                return moto;
            }
        }
        panic!("moto does not start on any of {ATTEMPTS} free ports")
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The file with its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Replaces that file by the certificate of somebody else, which the running server does not have.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn replace_certificate(&self) {
        self.make_certificate();
    }

    fn make_certificate(&self) -> [String; 4] {
        let (certificate, key) = (self.certificate(), self.folder.path().join("key.pem"));
        let made =
            Command::new(program("python")).args(["-c", CERTIFICATE]).args([&certificate, &key]).output();
        let made = made.expect("moto comes with a Python");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        ["-c".to_owned(), certificate.display().to_string(), "-k".to_owned(), key.display().to_string()]
    }

    /// Calls an action of Amazon ECS.
    ///
    /// # Panics
    /// When it is refused.
    pub fn ecs(&self, action: &str, request: &Value) -> Value {
        self.json("ecs", &format!("AmazonEC2ContainerServiceV20141113.{action}"), request)
    }

    /// Calls an action of Cloud Map.
    ///
    /// # Panics
    /// When it is refused.
    pub fn cloud_map(&self, action: &str, request: &Value) -> Value {
        self.json("servicediscovery", &format!("Route53AutoNaming_v20170314.{action}"), request)
    }

    /// A container instance of a cluster: its EC2 instance id and private address.
    ///
    /// # Panics
    /// When it is refused.
    pub fn container_instance(&self, cluster: &str) -> (String, String) {
        let form = "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount=1&MaxCount=1";
        let instance = self.form("ec2", form);
        let (id, address) = (element(&instance, "instanceId"), element(&instance, "privateIpAddress"));
        let document = json!({ "instanceId": id }).to_string();
        let request = json!({ "cluster": cluster, "instanceIdentityDocument": document });
        self.ecs("RegisterContainerInstance", &request);
        (id, address)
    }

    /// A subnet.
    ///
    /// # Panics
    /// When it is refused.
    pub fn subnet(&self) -> String {
        element(&self.form("ec2", "Action=DescribeSubnets&Version=2016-11-15"), "subnetId")
    }

    /// An access key that may list and describe; from now on every request must be signed with it.
    ///
    /// # Panics
    /// When it is refused.
    pub fn demand_signatures(&self) -> (String, String) {
        const VERSION: &str = "Version=2010-05-08&UserName=weir";
        self.form("iam", &format!("Action=CreateUser&{VERSION}"));
        let policy =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        let policy = policy.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let form = format!("Action=PutUserPolicy&{VERSION}&PolicyName=all&PolicyDocument={policy}");
        self.form("iam", &form);
        let key = self.form("iam", &format!("Action=CreateAccessKey&{VERSION}"));
        let reply = self.post("/moto-api/reset-auth", "iam", "Content-Type: text/plain", "0");
        assert_eq!(reply.status, 200, "{}", reply.body);
        (element(&key, "AccessKeyId"), element(&key, "SecretAccessKey"))
    }

    fn json(&self, service: &str, target: &str, request: &Value) -> Value {
        let headers = format!("Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {target}");
        let reply = self.post("/", service, &headers, &request.to_string());
        assert_eq!(reply.status, 200, "{target}: {}", reply.body);
        serde_json::from_str(&reply.body).expect("AWS answers in JSON")
    }

    fn form(&self, service: &str, form: &str) -> String {
        let reply = self.post("/", service, "Content-Type: application/x-www-form-urlencoded", form);
        assert_eq!(reply.status, 200, "{form}: {}", reply.body);
        reply.body
    }

    /// Asks as somebody whose signature nobody looks at: moto reads service and region from it.
    fn post(&self, path: &str, service: &str, headers: &str, body: &str) -> Reply {
        let (addr, length) = (self.addr, body.len());
        Client::connect(addr).ask(format!(
            "POST {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=TEST/20200101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\
             {headers}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }
}

/// A program of the environment that `cargo xtask test` makes in the target folder.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a program knows its own place");
    let target = test.ancestors().nth(3).expect("tests lie in a folder below the target folder");
    target.join("moto/bin").join(name)
}

/// The text of an XML answer's first element of that name.
fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split('<').next().unwrap_or_default().to_owned()
}
