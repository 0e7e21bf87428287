import { type Address, KafkaError } from './driver.ts'

/** What TLS says of a certificate, by Node's codes, and what to do about it. */
const CERTIFICATES: readonly (readonly [code: RegExp, says: string])[] = [
  [
    /SELF_SIGNED_CERT|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER/,
    'nobody we believe has signed the broker’s certificate: name the file of its authority with ca=FILE',
  ],
  [/CERT_HAS_EXPIRED/, 'the broker’s certificate has expired: it needs a new one'],
  [/CERT_NOT_YET_VALID/, 'the broker’s certificate is not valid yet: compare the clocks'],
  [
    /ERR_TLS_CERT_ALTNAME_INVALID/,
    'the broker’s certificate is for another name: go to it by that name, or say it with serverName=NAME',
  ],
  [
    /ERR_SSL_\w*(CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)/,
    'the broker does not take our certificate: give one that it knows, with cert=FILE and key=FILE',
  ],
  [/ERR_OSSL|ERR_SSL_\w*KEY_VALUES_MISMATCH|ERR_SSL_CA_MD/, 'our own certificate or key cannot be used'],
]

/**
 * Why there is no answer. NETWORK is worth trying again; TLS_FAILED and SASL_AUTHENTICATION_FAILED are not, because who
 * refuses us will do so again; UNREADABLE is an answer that could not be read.
 */
export function refusalOf(error: unknown, { host, port }: Address): KafkaError {
  if (error instanceof KafkaError) return error
  const [code, says] = reasonOf(chainOf(error))
  return new KafkaError(code, `${host}:${port}: ${says}`, error)
}

function chainOf(error: unknown): (Error & { code?: string })[] {
  const chain: Error[] = []
  for (let each = error; each instanceof Error && !chain.includes(each); each = each.cause) chain.push(each)
  return chain
}

function reasonOf(chain: readonly (Error & { code?: string })[]): [code: string, says: string] {
  const codes = chain.map(({ code }) => code ?? '').join(' ')
  const messages = chain.map(({ message }) => message).join(': ')
  for (const [pattern, says] of CERTIFICATES) if (pattern.test(codes)) return ['TLS_FAILED', `${says} (${messages})`]
  if (/requires TLS/i.test(messages))
    return ['TLS_FAILED', 'TLS is spoken there: kafka+ssl:// instead of kafka:// is its scheme']
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH/.test(codes))
    return ['TLS_FAILED', 'no TLS is spoken there: kafka:// instead of kafka+ssl:// is its scheme']
  if (/before secure TLS connection/.test(messages))
    return [
      'NETWORK',
      'it hung up while TLS was being agreed on; if it always does, TLS is not spoken there (kafka://)',
    ]
  if (
    chain.some(
      ({ name, message }) =>
        /Authentication/.test(name) || /SASL (authentication|mechanism)|suitable SASL/i.test(message),
    )
  )
    return ['SASL_AUTHENTICATION_FAILED', `the broker does not let us in: ${messages}`]
  if (chain.some(each => each instanceof TypeError || each instanceof RangeError))
    return ['UNREADABLE', `an answer that cannot be read: ${messages}`]
  return ['NETWORK', messages]
}
