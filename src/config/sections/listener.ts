/** Defines the section `listener`: the port that KMS connects to. */
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
  'Proxies (Envoy, nginx, HAProxy) that terminate mTLS in front of Latchkey and forward the client certificate in a header. Latchkey accepts the header from these proxies only. Omit this section if there are none.',
  {
    peers: texts(
      'Addresses and networks from which the proxies open TCP connections; addresses in a PROXY protocol header do not count. Every request from these addresses must have the header, and a request from any other address must not.',
      '10.0.1.7',
    ),
    certificate: optional(
      object(
        'Client certificate that the proxies must present; connections without it are refused. Optional if all peers are loopback addresses, but without it Latchkey trusts every process on the host.',
        {
          ca: file(
            "PEM bundle of the authorities that a proxy's certificate must chain to. Use your own authority, not a public one.",
          ),
          subjects: texts(
            "Subject common names accepted in a proxy's certificate. They must match exactly.",
            'terminator.example.com',
          ),
        },
      ),
    ),
    header: text('Name of the header that carries the client certificate.', {
      ...HEADER_NAME,
      default: 'x-forwarded-client-cert',
    }),
    format: choice(
      ['xfcc', 'subject-dn'],
      "Format of the header. xfcc: Envoy's format, which must include Subject. subject-dn: the subject alone, in RFC 2253 format, as nginx and HAProxy can send it.",
      'xfcc',
    ),
    verifyHeader: optional(
      text(
        'With subject-dn: name of the header that carries the verification result. Success is SUCCESS from nginx and 0 from HAProxy.',
        HEADER_NAME,
      ),
    ),
  },
)

const clientCertificate = converted(
  object(
    'Client certificate that KMS must present (mTLS). A client without an accepted certificate is disconnected before it can send a request. Omit this section to disable mTLS.',
    {
      ca: file(
        'PEM bundle of the authorities that the client certificate must chain to. For KMS, these are the Amazon Trust Services roots.',
      ),
      mode: choice(
        ['enforce', 'observe'],
        'enforce: clients without an accepted certificate are refused. observe: clients are accepted regardless of their certificate; the signatures of their requests are still verified, and latchkey_client_certificates_total counts the clients that enforce would refuse.',
        'enforce',
      ),
      regions: optional(
        regionNames(
          'AWS regions from which KMS may connect. The certificate of KMS has the common name cks.kms.<region>.amazonaws.com. If the AWS partition has its own domain, such as amazonaws.eu, the name in that domain is also accepted.',
        ),
      ),
      subjects: optional(
        texts(
          'Additional subject common names to accept. They must match exactly. At least one of regions and subjects is required.',
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

export const listener = object('The HTTPS listener that KMS connects to.', {
  host: text('Address to bind.', { default: '0.0.0.0' }),
  port: port('Port to bind; 0 selects a free port. KMS itself always connects to port 443.', 8443),
  tls: serverCertificate(
    'The server certificate. A renewed certificate is loaded within seconds, without a restart.',
  ),
  clientCertificate: optional(clientCertificate),
  proxyProtocol: optional(
    object(
      "Accepts version 2 of the PROXY protocol from a load balancer that forwards TCP connections, so that the log shows the caller's address and not the load balancer's. Omit this section if no such load balancer is in use.",
      {
        peers: texts(
          'Addresses and networks of the load balancer. Every connection from them must begin with the PROXY header, and Latchkey accepts the header from them only.',
          '10.0.0.0/16',
        ),
      },
    ),
  ),
  http2: flag('Offer HTTP/2 through ALPN, in addition to HTTP/1.1.', true),
  ping: optional(
    object(
      'Plain HTTP port that responds to GET /ping for load balancers. Omit this section to disable the port.',
      {
        host: text('Address to bind.', { default: '0.0.0.0' }),
        port: port('Port to bind.'),
      },
    ),
  ),
  timeouts: object('Time limits for connections and requests.', {
    headers: duration('Maximum time from the start of a request to the end of its headers.', '5s'),
    request: duration('Maximum time from the start of a request to the end of its body.', '10s'),
    keepAlive: duration(
      "Idle time after which Latchkey closes a connection. Make it longer than the load balancer's idle timeout (350 s for a Network Load Balancer). Otherwise, the load balancer may send a request on a connection that Latchkey is closing.",
      '400s',
    ),
    tlsHandshake: duration(
      'Maximum time from accepting a TCP connection to the end of the TLS handshake.',
      '10s',
    ),
  }),
  maxConnections: integer(
    'Maximum number of open connections. At the maximum, a new connection replaces the longest-idle one that has carried no request with a valid signature. If there is no such connection, the new one is closed.',
    {
      minimum: 1,
      maximum: 1_000_000,
      default: 10_000,
    },
  ),
  maxRequestsPerConnection: integer(
    "Approximate number of requests after which a connection is closed, so that the client's next connection can reach another worker or host. 0: unlimited.",
    { minimum: 0, maximum: 1_000_000_000, default: 10_000 },
  ),
  maxConnectionAge: duration(
    'Approximate maximum age of a connection. An older connection is closed after a response or while idle. When the client reconnects, its certificate is checked against the current authorities. 0s: unlimited.',
    '1h',
  ),
  drain: object('Graceful shutdown after SIGTERM.', {
    delay: duration(
      'How long Latchkey keeps serving requests while /ping already responds with 503, so that load balancers stop sending new requests. Behind a load balancer, use twice the interval of its health checks.',
      '0s',
    ),
    timeout: duration('How long requests in flight may take to finish after the delay.', '10s'),
  }),
})
