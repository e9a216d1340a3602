use super::*;
use futures::FutureExt as _;
use proptest::prelude::*;
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client};

/// A test that takes longer waits for something that never comes.
const STUCK: Duration = Duration::from_secs(30);

type Server = TlsStream<DuplexStream>;
type Client = client::TlsStream<DuplexStream>;

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Configs {
    fn speaking(version: &'static SupportedProtocolVersion) -> Self {
        let made = rcgen::generate_simple_self_signed(["server".to_owned()]).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![made.cert.der().clone()],
                PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    async fn accept(&self, wire: DuplexStream) -> Server {
        TlsStream::accept(self.server.clone(), wire).await.unwrap()
    }

    async fn connect(&self, wire: DuplexStream) -> Client {
        let name = ServerName::try_from("server").unwrap();
        TlsConnector::from(self.client.clone()).connect(name, wire).await.unwrap()
    }

    /// Both ends of a wire that has room for a handshake.
    async fn connected(&self) -> (Server, Client) {
        let (near, far) = duplex(4096);
        tokio::join!(self.accept(near), self.connect(far))
    }
}

/// Sends all of it, and reads as much as the other side sends.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    sent: &[u8],
    expected: usize,
) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut read = vec![0; expected];
    let (written, got) = tokio::join!(
        async {
            writer.write_all(sent).await?;
            writer.flush().await
        },
        reader.read_exact(&mut read)
    );
    written.unwrap();
    got.unwrap();
    read
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + seed) % 251).unwrap_or_default()).collect()
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(STUCK, future).await.expect("it never ends") })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bytes_arrive_whole_and_in_order_whatever_the_wire_breaks_them_into(
        wire in prop_oneof![1_usize..40, 40_usize..6000, 20_000_usize..80_000],
        up in 0_usize..70_000,
        // Something: who reads nothing takes no tickets either.
        down in 1_usize..70_000,
        modern in any::<bool>(),
    ) {
        let configs = Configs::speaking(if modern { &TLS13 } else { &TLS12 });
        let (up, down) = (pattern(up, 1), pattern(down, 2));
        let (heard, told) = block_on(async {
            let (near, far) = duplex(wire);
            let serve = async {
                let mut server = configs.accept(near).await;
                let heard = exchange(&mut server, &down, up.len()).await;
                (server, heard)
            };
            let ask = async {
                let mut client = configs.connect(far).await;
                let told = exchange(&mut client, &up, down.len()).await;
                (client, told)
            };
            let ((_, heard), (_, told)) = tokio::join!(serve, ask);
            (heard, told)
        });
        prop_assert!(heard == up);
        prop_assert!(told == down);
    }

    #[test]
    fn no_garbage_is_taken_for_a_hello(garbage in prop::collection::vec(any::<u8>(), 1..400)) {
        let configs = Configs::speaking(&TLS13);
        let error = block_on(async {
            let (near, mut far) = duplex(1024);
            far.write_all(&garbage).await.unwrap();
            far.shutdown().await.unwrap();
            TlsStream::accept(configs.server.clone(), near).await.err().unwrap()
        });
        prop_assert!(matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof));
    }
}

#[tokio::test]
async fn a_session_at_rest_keeps_no_buffer() {
    let (mut server, mut client) = Configs::speaking(&TLS13).connected().await;
    let (big, small) = (pattern(100_000, 3), pattern(10, 4));
    tokio::join!(exchange(&mut server, &small, big.len()), exchange(&mut client, &big, small.len()));
    assert!(server.read(&mut [0; 16]).now_or_never().is_none());
    let kept = [&server.incoming, &server.plain.bytes, &server.outgoing.bytes].map(Vec::capacity);
    assert_eq!(kept, [0, 0, 0]);
}

#[tokio::test]
async fn a_reader_hears_when_its_peer_has_said_all_and_may_still_answer() {
    for version in [&TLS12, &TLS13] {
        let (mut server, mut client) = Configs::speaking(version).connected().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(server.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, b"answer");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_end_of_what_was_sent() {
    let (mut server, mut client) = Configs::speaking(&TLS13).connected().await;
    client.write_all(b"half a").await.unwrap();
    client.flush().await.unwrap();
    drop(client.into_inner().0);
    let mut heard = Vec::new();
    assert_eq!(server.read_to_end(&mut heard).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(heard, b"half a");
}

#[tokio::test]
async fn a_session_outlives_new_keys() {
    let (mut server, mut client) = Configs::speaking(&TLS13).connected().await;
    for round in 0..5 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        let (up, down) = (pattern(5_000, round), pattern(7_000, round + 1));
        let (heard, told) =
            tokio::join!(exchange(&mut server, &down, up.len()), exchange(&mut client, &up, down.len()));
        assert!(heard == up && told == down, "round {round}");
    }
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_told_so() {
    let (near, mut far) = duplex(1024);
    far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let refused = TlsStream::accept(Configs::speaking(&TLS13).server, near).await;
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::InvalidData);
    let mut told = Vec::new();
    far.read_to_end(&mut told).await.unwrap();
    // The content type of an alert (RFC 8446, section 5.1).
    assert_eq!(told.first(), Some(&21));
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_after_its_request_is_told_so_once_and_hears_nothing_else() {
    for version in [&TLS12, &TLS13] {
        let (mut server, mut client) = Configs::speaking(version).connected().await;
        // Takes the tickets off the wire.
        tokio::join!(exchange(&mut server, b"1", 1), exchange(&mut client, b"2", 1));
        client.write_all(b"question").await.unwrap();
        client.flush().await.unwrap();
        let mut wire = client.into_inner().0;
        // A record of application data that no key made.
        wire.write_all(&[&[23, 3, 3, 0, 32][..], &[0; 32]].concat()).await.unwrap();
        let mut heard = Vec::new();
        assert_eq!(server.read_to_end(&mut heard).await.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(heard, b"question");
        assert_eq!(server.write(b"answer").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 0);
        server.shutdown().await.unwrap();
        let mut told = Vec::new();
        wire.read_to_end(&mut told).await.unwrap();
        let length = usize::from(u16::from_be_bytes([told[3], told[4]]));
        assert_eq!(told.len(), 5 + length, "one alert and no more");
    }
}

#[tokio::test]
async fn a_hello_that_never_ends_is_given_up() {
    let (near, mut far) = duplex(1 << 20);
    // A handshake record of 16 KiB; the message in it says that it has 16 MiB.
    let mut record = vec![22, 3, 3, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + RECORD, 0);
    let mut rest = vec![22, 3, 3, 0x40, 0];
    rest.resize(5 + RECORD, 0);
    far.write_all(&record).await.unwrap();
    for _ in 0..20 {
        far.write_all(&rest).await.unwrap();
    }
    let refused = TlsStream::accept(Configs::speaking(&TLS13).server, near).await;
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_peer_that_does_not_read_holds_up_its_writer() {
    let (mut server, mut client) = Configs::speaking(&TLS13).connected().await;
    let sent = pattern(1 << 20, 5);
    let mut taken = 0;
    while let Some(written) = server.write(&sent[taken..]).now_or_never() {
        taken += written.unwrap();
    }
    assert!(taken < 4 * RECORD, "{taken} bytes were taken");
    assert!(server.outgoing.bytes.len() <= RECORD + OVERHEAD);
    let finish = async {
        server.write_all(&sent[taken..]).await.unwrap();
        server.flush().await.unwrap();
    };
    let mut read = vec![0; sent.len()];
    let ((), read_all) = tokio::join!(finish, client.read_exact(&mut read));
    read_all.unwrap();
    assert!(read == sent);
}

#[tokio::test]
async fn small_pieces_travel_in_one_record_and_nothing_is_lost_of_large_ones() {
    let (mut server, mut client) = Configs::speaking(&TLS13).connected().await;
    let (head, body) = (pattern(200, 6), pattern(50_000, 7));
    let all = [head.clone(), body].concat();
    let write = async {
        let mut written = 0;
        while written < all.len() {
            let (first, second) = all.split_at(written.max(head.len()));
            let pieces = [IoSlice::new(&first[written..]), IoSlice::new(&[]), IoSlice::new(second)];
            let taken = server.write_vectored(&pieces).await.unwrap();
            assert!(taken > head.len() || written > 0);
            written += taken;
        }
        server.flush().await.unwrap();
    };
    let mut read = vec![0; all.len()];
    let ((), read_all) = tokio::join!(write, client.read_exact(&mut read));
    read_all.unwrap();
    assert!(read == all);
}

#[tokio::test]
async fn a_handshake_ends_though_neither_side_can_say_all_it_has_to_before_it_listens() {
    let configs = Configs::speaking(&TLS13);
    let (near, far) = duplex(5);
    let both = async { tokio::join!(configs.accept(near), configs.connect(far)) };
    tokio::time::timeout(STUCK, both).await.unwrap();
}
