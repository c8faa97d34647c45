/** `listener`: where KMS connects. */
// SPDX-License-Identifier: Apache-2.0
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
  patternErrorMessage: 'a name in small letters that begins with x-',
}

const forwardedBy = object(
  'Terminators (Envoy, nginx, HAProxy) that end mTLS before Latchkey and pass its outcome on in a header. Nobody else is believed. Leave it out for none.',
  {
    peers: texts(
      "Addresses and networks of the terminators: where their TCP connections come from, never what a PROXY header says. Each of their requests must have the header; anybody else's that has it is refused.",
      '10.0.1.7',
    ),
    certificate: optional(
      object(
        "The terminators' own client certificate, without which their connections are refused. It can be left out where all peers are loopback addresses: then every process of the host is believed.",
        {
          ca: file(
            'PEM bundle of the authorities that it must chain to: your own, and no public one.',
          ),
          subjects: texts('Its common names, compared whole.', 'terminator.example.com'),
        },
      ),
    ),
    header: text('The header with the certificate.', {
      ...HEADER_NAME,
      default: 'x-forwarded-client-cert',
    }),
    format: choice(
      ['xfcc', 'subject-dn'],
      "What is in it: xfcc is Envoy's, with Subject; subject-dn is the subject alone in the form of RFC 2253, as nginx and HAProxy can send it.",
      'xfcc',
    ),
    verifyHeader: optional(
      text(
        'For subject-dn: the header with the outcome of the verification, SUCCESS as nginx has it or 0 as HAProxy does.',
        HEADER_NAME,
      ),
    ),
  },
)

/** XKS 1.0.3, Authentication: the common name of the certificate that KMS shows. */
const toKmsName = (region: string) => `cks.kms.${region}.amazonaws.com`

const clientCertificate = converted(
  object(
    'mTLS: only clients that show such a certificate get as far as HTTP. Leave it out to switch it off.',
    {
      ca: file('PEM bundle of the authorities that it must chain to: Amazon Trust Services.'),
      regions: optional(
        regionNames(
          'AWS regions whose KMS may connect: it shows cks.kms.<region>.amazonaws.com as its common name.',
        ),
      ),
      subjects: optional(
        texts(
          'Further subject common names, compared whole; regions or subjects, one is needed.',
          'cks.kms.eu-west-1.amazonaws.com',
        ),
      ),
      forwardedBy: optional(forwardedBy),
    },
  ),
  ({ regions = [], subjects = [], ...rest }) => ({
    ...rest,
    subjects: [...regions.map(toKmsName), ...subjects] as readonly string[],
  }),
)

export const listener = object('The HTTPS port that KMS connects to.', {
  host: text('Address to bind.', { default: '0.0.0.0' }),
  port: port('Port to bind; 0 takes any free one. KMS itself always calls port 443.', 8443),
  tls: serverCertificate(
    'The server certificate. A renewed one is taken up within seconds, without a restart.',
  ),
  clientCertificate: optional(clientCertificate),
  proxyProtocol: optional(
    object(
      "For a load balancer that passes TCP on, with the PROXY protocol, version 2: the log then has the caller's address. Leave it out for none.",
      {
        peers: texts(
          'Addresses and networks of the load balancer. Each of its connections must begin with the header, and nobody else is believed.',
          '10.0.0.0/16',
        ),
      },
    ),
  ),
  http2: flag('Offer HTTP/2 by ALPN beside HTTP/1.1.', true),
  ping: optional(
    object('A plain HTTP port that answers GET /ping for load balancers. Leave it out for none.', {
      host: text('Address to bind.', { default: '0.0.0.0' }),
      port: port('Port to bind.'),
    }),
  ),
  timeouts: object('What a connection may take.', {
    headers: duration('From the start of a request to the end of its headers.', '5s'),
    request: duration('From the start of a request to the end of its body.', '10s'),
    keepAlive: duration(
      "Idle time of a connection. Longer than the load balancer's own, which is 350 s for a Network Load Balancer: whoever closes first breaks the other's next request.",
      '400s',
    ),
    tlsHandshake: duration('Time from the TCP connection to the end of the TLS handshake.', '10s'),
  }),
  maxConnections: integer('More connections than this are closed at once.', {
    minimum: 1,
    maximum: 1_000_000,
    default: 10_000,
  }),
  maxRequestsPerConnection: integer(
    'After about so many requests a connection is closed with an answer that says so, and the next one goes to whichever worker or host has room. 0: never.',
    { minimum: 0, maximum: 1_000_000_000, default: 10_000 },
  ),
  maxConnectionAge: duration(
    'After about this time a connection ends with an answer that says so, or when it is idle. A client then connects again, and its certificate is checked by the authorities of that day. 0s: never.',
    '1h',
  ),
  drain: object('What happens after SIGTERM.', {
    delay: duration(
      '/ping answers 503 for this long while requests are still served, so that load balancers turn away. Behind one, take twice its check interval.',
      '0s',
    ),
    timeout: duration('Then requests in flight have this long to end.', '10s'),
  }),
})
