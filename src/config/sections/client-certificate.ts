/** `listener.clientCertificate`: who may call at all, shown to us or to a terminator before us. */
// SPDX-License-Identifier: Apache-2.0
import { object, path, regionNames, type Schema } from './section.ts'

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

export const clientCertificate = object(
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
