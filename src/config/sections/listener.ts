/** `listener`: where KMS connects. */
// SPDX-License-Identifier: Apache-2.0
import { type Schema, duration, integer, object, path, regionNames } from './section.ts'

const names = (description: string, example: string): Schema => ({
  type: 'array',
  minItems: 1,
  items: { type: 'string', minLength: 1 },
  description,
  examples: [[example]],
})

const headerName = (description: string, fallback?: string): Schema => ({
  type: 'string',
  pattern: '^x-[a-z0-9-]{1,62}$',
  patternErrorMessage: 'a name in small letters that begins with x-',
  description,
  ...(fallback === undefined ? {} : { default: fallback }),
})

const forwardedBy = object(
  'Terminators (Envoy, nginx, HAProxy) that end mTLS before Latchkey and pass its outcome on in a header. Nobody else is believed. Leave it out for none.',
  {
    peers: names(
      "Addresses and networks of the terminators: where their TCP connections come from, never what a PROXY header says. Each of their requests must have the header; anybody else's that has it is refused.",
      '10.0.1.7',
    ),
    certificate: object(
      "The terminators' own client certificate, without which their connections are refused. It can be left out where all peers are loopback addresses: then every process of the host is believed.",
      {
        ca: path(
          'PEM bundle of the authorities that it must chain to: your own, and no public one.',
        ),
        subjects: names('Its common names, compared whole.', 'terminator.example.com'),
      },
      { required: ['ca', 'subjects'] },
    ),
    header: headerName('The header with the certificate.', 'x-forwarded-client-cert'),
    format: {
      type: 'string',
      enum: ['xfcc', 'subject-dn'],
      default: 'xfcc',
      description:
        "What is in it: xfcc is Envoy's, with Subject; subject-dn is the subject alone in the form of RFC 2253, as nginx and HAProxy can send it.",
    },
    verifyHeader: headerName(
      'For subject-dn: the header with the outcome of the verification, SUCCESS as nginx has it or 0 as HAProxy does.',
    ),
  },
  { required: ['peers'] },
)

const clientCertificate = object(
  'mTLS: only clients that show such a certificate get as far as HTTP. Leave it out to switch it off.',
  {
    ca: path('PEM bundle of the authorities that it must chain to: Amazon Trust Services.'),
    regions: regionNames(
      'AWS regions whose KMS may connect: it shows cks.kms.<region>.amazonaws.com as its common name.',
    ),
    subjects: names(
      'Further subject common names, compared whole; regions or subjects, one is needed.',
      'cks.kms.eu-west-1.amazonaws.com',
    ),
    forwardedBy,
  },
  { required: ['ca'] },
)

export const listener = object(
  'The HTTPS port that KMS connects to.',
  {
    host: { type: 'string', minLength: 1, default: '0.0.0.0', description: 'Address to bind.' },
    port: integer('Port to bind; 0 takes any free one. KMS itself always calls port 443.', {
      minimum: 0,
      maximum: 65_535,
      default: 8443,
    }),
    tls: object(
      'The server certificate. A renewed one is taken up within seconds, without a restart.',
      {
        certificate: path('PEM file: the certificate first, then its intermediates.'),
        privateKey: path('PEM file of its private key.'),
      },
      { required: ['certificate', 'privateKey'] },
    ),
    clientCertificate,
    proxyProtocol: object(
      "For a load balancer that passes TCP on, with the PROXY protocol, version 2: the log then has the caller's address. Leave it out for none.",
      {
        peers: {
          type: 'array',
          minItems: 1,
          items: { type: 'string', minLength: 1 },
          description:
            'Addresses and networks of the load balancer. Each of its connections must begin with the header, and nobody else is believed.',
          examples: [['10.0.0.0/16']],
        },
      },
      { required: ['peers'] },
    ),
    http2: {
      type: 'boolean',
      default: true,
      description: 'Offer HTTP/2 by ALPN beside HTTP/1.1.',
    },
    ping: object(
      'A plain HTTP port that answers GET /ping for load balancers. Leave it out for none.',
      {
        host: { type: 'string', minLength: 1, default: '0.0.0.0', description: 'Address to bind.' },
        port: integer('Port to bind.', { minimum: 0, maximum: 65_535 }),
      },
      { required: ['port'] },
    ),
    timeouts: object(
      'What a connection may take.',
      {
        headers: duration('From the start of a request to the end of its headers.', '5s'),
        request: duration('From the start of a request to the end of its body.', '10s'),
        keepAlive: duration(
          "Idle time of a connection. Longer than the load balancer's own, which is 350 s for a Network Load Balancer: whoever closes first breaks the other's next request.",
          '400s',
        ),
        tlsHandshake: duration('From the TCP connection to the end of the TLS handshake.', '10s'),
      },
      { default: {} },
    ),
    maxConnections: integer('More connections than this are closed at once.', {
      minimum: 1,
      maximum: 1_000_000,
      default: 10_000,
    }),
    maxRequestsPerConnection: integer(
      'After about so many requests a connection is closed with an answer that says so, and the next one goes to whichever worker or host has room. 0: never.',
      { minimum: 0, maximum: 1_000_000_000, default: 10_000 },
    ),
    drain: object(
      'What happens after SIGTERM.',
      {
        delay: duration(
          '/ping answers 503 for this long while requests are still served, so that load balancers turn away. Behind one, take twice its check interval.',
          '0s',
        ),
        timeout: duration('Then requests in flight have this long to end.', '10s'),
      },
      { default: {} },
    ),
  },
  { required: ['tls'] },
)
