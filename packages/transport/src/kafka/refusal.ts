import { type Address, KafkaError } from './driver.ts'

type Fault = Error & { readonly code?: string }

/** What TLS says of certificates, by Node's codes, and what to do about it. */
const CERTIFICATES: readonly (readonly [code: RegExp, says: string])[] = [
  [
    /^(SELF_SIGNED_CERT|DEPTH_ZERO|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER)/,
    'nobody we believe has signed the broker’s certificate: name the file of its authority with ca=FILE',
  ],
  [/^CERT_HAS_EXPIRED/, 'the broker’s certificate has expired: it needs a new one'],
  [/^CERT_NOT_YET_VALID/, 'the broker’s certificate is not valid yet: compare the clocks'],
  [
    /^ERR_TLS_CERT_ALTNAME_INVALID/,
    'the broker’s certificate is for another name: go to it by that name, or say the name with serverName=NAME',
  ],
  [
    /^ERR_SSL_.*ALERT.*(CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)/,
    'the broker does not take our certificate: give one that it knows and that is valid, with cert=FILE and key=FILE',
  ],
  [/^ERR_OSSL|^ERR_SSL_.*MISMATCH/, 'our certificate or key cannot be used'],
  [/^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH)/, 'TLS is not spoken there: the scheme is kafka:// then'],
]

/** Of @platformatic/kafka. */
const UNREADABLE = /^PLT_KFK_(UNSUPPORTED|OUT_OF_BOUNDS)/
const ENDED = /closed|timed out|timeout|not connected|connection error|ECONN|EPIPE/i

/**
 * Why there is no answer. NETWORK is worth trying again; TLS_FAILED and SASL_AUTHENTICATION_FAILED are not, because who
 * refuses us does so again; UNREADABLE is an answer that could not be read. `met`: it has answered before.
 */
export function refusalOf(error: unknown, { host, port }: Address, { met }: { met: boolean }): KafkaError {
  if (error instanceof KafkaError) return error
  const chain = chainOf(error)
  const messages = chain.map(({ message }) => message.trim()).join(': ')
  const [code, says] = reasonOf(chain, messages, met)
  return new KafkaError(code, `${host}:${port}: ${says}`, error)
}

function chainOf(error: unknown): Fault[] {
  const chain: Fault[] = []
  for (let each = error; each instanceof Error && !chain.includes(each); each = each.cause) chain.push(each)
  return chain
}

function reasonOf(chain: readonly Fault[], messages: string, met: boolean): [code: string, says: string] {
  for (const [pattern, says] of CERTIFICATES)
    if (chain.some(({ code = '' }) => pattern.test(code))) return ['TLS_FAILED', `${says} (${messages})`]
  if (/requires TLS/i.test(messages)) return ['TLS_FAILED', 'TLS is spoken there: the scheme is kafka+ssl:// then']
  if (/before secure TLS connection/.test(messages))
    return ['NETWORK', 'it hung up while TLS was agreed on; if it always does, TLS is not spoken there (kafka://)']
  if (ENDED.test(messages)) {
    const stranger = met
      ? ''
      : '; a listener for TLS (kafka+ssl://) or for SASL (sasl=…) does so to who comes otherwise'
    return ['NETWORK', `${messages}${/closed/i.test(messages) ? stranger : ''}`]
  }
  if (chain.some(({ name, message }) => /Authentication/.test(name) || /SASL/.test(message)))
    return [
      'SASL_AUTHENTICATION_FAILED',
      `the broker does not let us in: the user, the password or the mechanism is not what it knows (${messages})`,
    ]
  if (chain.some(each => each instanceof TypeError || each instanceof RangeError || UNREADABLE.test(each.code ?? '')))
    return ['UNREADABLE', `an answer that cannot be read: ${messages}`]
  return ['NETWORK', messages]
}
