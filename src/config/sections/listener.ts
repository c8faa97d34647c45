/** `listener`: the port that KMS connects to. */
// SPDX-License-Identifier: Apache-2.0
import { kmsNames } from '../../core/partitions.ts'
import { converted, object, optional } from '../setting.ts'
import {
  choice,
  duration,
  file,
  flag,
  integer,
  port,
  regionNames,
  serverCertificate,
  text,
  texts,
} from '../settings.ts'

const HEADER_NAME = {
  pattern: '^x-[a-z0-9-]{1,62}$',
  patternErrorMessage: 'a lower-case name that begins with x-',
}

const forwardedBy = object(
  'TLS terminators (Envoy, nginx, HAProxy) that terminate mTLS in front of Latchkey and pass the result on in a header. The header is accepted from these only. Omit it if there are none.',
  {
    peers: texts(
      'Addresses and networks of the terminators: the source of their TCP connections, not an address from a PROXY header. Each of their requests must have the header. A request from another address that has the header is refused.',
      '10.0.1.7',
    ),
    certificate: optional(
      object(
        'Client certificate of the terminators, without which their connections are refused. Optional if all peers are loopback addresses; every process on the host is then trusted.',
        {
          ca: file(
            'PEM bundle of the authorities that it must chain to. Use your own authority, not a public one.',
          ),
          subjects: texts(
            'Accepted common names, which must match exactly.',
            'terminator.example.com',
          ),
        },
      ),
    ),
    header: text('Name of the header with the certificate.', {
      ...HEADER_NAME,
      default: 'x-forwarded-client-cert',
    }),
    format: choice(
      ['xfcc', 'subject-dn'],
      "Format of the header. xfcc is Envoy's format, with Subject; subject-dn is only the subject in RFC 2253 format, which nginx and HAProxy can send.",
      'xfcc',
    ),
    verifyHeader: optional(
      text(
        'For subject-dn: name of the header with the result of the verification, which is SUCCESS from nginx or 0 from HAProxy.',
        HEADER_NAME,
      ),
    ),
  },
)

const clientCertificate = converted(
  object(
    'mTLS: clients without such a certificate are disconnected before HTTP. Omit it to disable mTLS.',
    {
      ca: file(
        'PEM bundle of the authorities that the certificate must chain to: Amazon Trust Services.',
      ),
      mode: choice(
        ['enforce', 'observe'],
        'enforce: a client without such a certificate is refused. observe: every client is served on its signature, and latchkey_client_certificates_total counts what enforcing would refuse.',
        'enforce',
      ),
      regions: optional(
        regionNames(
          'AWS regions from which KMS may connect. Its common name is cks.kms.<region>.amazonaws.com; in a partition with a domain of its own, such as amazonaws.eu, that is accepted too.',
        ),
      ),
      subjects: optional(
        texts(
          'Further accepted subject common names, which must match exactly. Either regions or subjects is required.',
          'cks.kms.eu-west-1.amazonaws.com',
        ),
      ),
      forwardedBy: optional(forwardedBy),
    },
  ),
  ({ regions = [], subjects = [], ...rest }) => ({
    ...rest,
    subjects: [...regions.flatMap(kmsNames), ...subjects] as readonly string[],
  }),
)

export const listener = object('The HTTPS port that KMS connects to.', {
  host: text('Address to bind.', { default: '0.0.0.0' }),
  port: port('Port to bind; 0 selects a free port. KMS itself always calls port 443.', 8443),
  tls: serverCertificate(
    'The server certificate. A renewed certificate is loaded within seconds, without a restart.',
  ),
  clientCertificate: optional(clientCertificate),
  proxyProtocol: optional(
    object(
      "PROXY protocol version 2, for a load balancer that forwards TCP: the log then has the caller's address. Omit it if there is none.",
      {
        peers: texts(
          'Addresses and networks of the load balancer. Each of its connections must begin with the header; the header is accepted from these only.',
          '10.0.0.0/16',
        ),
      },
    ),
  ),
  http2: flag('Offer HTTP/2 by ALPN, in addition to HTTP/1.1.', true),
  ping: optional(
    object('A plain HTTP port that answers GET /ping for load balancers. Omit it to disable it.', {
      host: text('Address to bind.', { default: '0.0.0.0' }),
      port: port('Port to bind.'),
    }),
  ),
  timeouts: object('Time limits of a connection.', {
    headers: duration('Limit from the start of a request to the end of its headers.', '5s'),
    request: duration('Limit from the start of a request to the end of its body.', '10s'),
    keepAlive: duration(
      "Idle time after which a connection is closed. It must be longer than the load balancer's, which is 350 s for a Network Load Balancer; otherwise a request can meet a connection that is being closed.",
      '400s',
    ),
    tlsHandshake: duration('Limit from the TCP connection to the end of the TLS handshake.', '10s'),
  }),
  maxConnections: integer(
    'Maximum number of open connections. When it is reached, the longest-idle connection without a valid signature is closed for a new one; if there is none, the new one is closed.',
    {
      minimum: 1,
      maximum: 1_000_000,
      default: 10_000,
    },
  ),
  maxRequestsPerConnection: integer(
    'Approximate number of requests after which an answer closes its connection, so that the next connection can reach another worker or host. 0: unlimited.',
    { minimum: 0, maximum: 1_000_000_000, default: 10_000 },
  ),
  maxConnectionAge: duration(
    'Approximate age at which a connection is closed, with an answer or when idle. The client then connects again, and its certificate is checked against the current authorities. 0s: unlimited.',
    '1h',
  ),
  drain: object('Shutdown after SIGTERM.', {
    delay: duration(
      'How long /ping answers 503 while requests are still served, so that load balancers stop sending new ones. Behind a load balancer, use twice its check interval.',
      '0s',
    ),
    timeout: duration('How long requests in flight may then take to finish.', '10s'),
  }),
})
