import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { WeftError } from '../transport.ts'
import { type DriverOptions, KafkaError, type Sasl, type Tls } from './driver.ts'

/** Takes a parameter out of a URL's query. */
export type Take = (name: string) => string | undefined

const MECHANISMS: Readonly<Record<string, Sasl['mechanism']>> = {
  plain: 'PLAIN',
  'scram-sha-256': 'SCRAM-SHA-256',
  'scram-sha-512': 'SCRAM-SHA-512',
}

/**
 * Who we are and whom we believe. Passwords come from files or the environment (WEFT_KAFKA_PASSWORD,
 * WEFT_KAFKA_KEY_PASSPHRASE), never from the URL. All files are read once now, so that what is wrong with them is
 * INVALID here and not an outage later, and again for every connection.
 */
export function securityOf(
  take: Take,
  { secure, env = process.env }: { secure: boolean; env?: NodeJS.ProcessEnv },
): Pick<DriverOptions, 'tls' | 'sasl'> {
  const tls = tlsOf(take, secure, env)
  const sasl = saslOf(take, secure, env)
  try {
    if (tls) checkPem(tls())
    sasl?.()
  } catch (error) {
    throw new WeftError('INVALID', `what was given for TLS and SASL cannot be used: ${(error as Error).message}`, {
      cause: error,
    })
  }
  return { tls, sasl }
}

function tlsOf(take: Take, secure: boolean, env: NodeJS.ProcessEnv): (() => Tls) | undefined {
  const [ca, cert, key, servername] = ['ca', 'cert', 'key', 'serverName'].map(take)
  if (!secure) {
    if (ca ?? cert ?? key ?? servername)
      throw new WeftError('INVALID', 'ca, cert, key and serverName are for TLS: the scheme is kafka+ssl:// then')
    return undefined
  }
  if ((cert === undefined) !== (key === undefined))
    throw new WeftError('INVALID', 'cert and key belong together: name the file of each (it may be the same)')
  const { WEFT_KAFKA_KEY_PASSPHRASE: passphrase } = env
  return () => ({
    ...(ca && { ca: read('ca', ca) }),
    ...(cert && { cert: read('cert', cert) }),
    ...(key && { key: read('key', key) }),
    ...(key && passphrase && { passphrase }),
    ...(servername && { servername }),
  })
}

function saslOf(take: Take, secure: boolean, env: NodeJS.ProcessEnv): (() => Sasl) | undefined {
  const [asked, user, passwordFile] = ['sasl', 'user', 'passwordFile'].map(take)
  if (asked === undefined) {
    if (user ?? passwordFile)
      throw new WeftError(
        'INVALID',
        `user and passwordFile are for SASL: say sasl=${Object.keys(MECHANISMS).join(' or ')}`,
      )
    return undefined
  }
  const mechanism = MECHANISMS[asked.toLowerCase()]
  if (!mechanism)
    throw new WeftError('INVALID', `sasl must be one of ${Object.keys(MECHANISMS).join(', ')}, not "${asked}"`)
  if (mechanism === 'PLAIN' && !secure)
    throw new WeftError(
      'INVALID',
      'sasl=plain sends the password as it is: only over kafka+ssl://, or take scram-sha-512',
    )
  const username = user ?? env.WEFT_KAFKA_USER
  if (!username) throw new WeftError('INVALID', 'sasl needs a user: user=NAME, or the variable WEFT_KAFKA_USER')
  const { WEFT_KAFKA_PASSWORD } = env
  if (passwordFile === undefined && !WEFT_KAFKA_PASSWORD)
    throw new WeftError(
      'INVALID',
      'sasl needs a password: passwordFile=FILE, or the variable WEFT_KAFKA_PASSWORD; it never stands in the URL',
    )
  return () => ({
    mechanism,
    username,
    password: passwordFile ? read('passwordFile', passwordFile).trimEnd() : (WEFT_KAFKA_PASSWORD as string),
  })
}

/** TLS itself passes over an authority that is no certificate. */
function checkPem(tls: Tls): void {
  createSecureContext(tls)
  for (const name of ['ca', 'cert'] as const) {
    const { [name]: pem } = tls
    const begin = pem?.indexOf('-----BEGIN CERTIFICATE-----')
    if (begin === -1) throw new Error(`${name} holds no certificate in PEM`)
    if (pem) new X509Certificate(pem.slice(begin))
  }
}

function read(name: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    // Perhaps it is being renewed: a connection is tried again.
    throw new KafkaError('NETWORK', `${name}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`, error)
  }
}
