import { X509Certificate } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generate } from 'selfsigned'

/** Both in PEM; `cert` may hold the chain. */
export interface Certificate {
  readonly key: string | Buffer
  readonly cert: string | Buffer
}

const DAYS = 397
const FEW_DAYS_MS = 7 * 86_400_000

/**
 * A self-signed certificate for localhost, for development: the one kept in `directory`, else (or when it runs out
 * within a week) a new one, kept there with the key readable by its owner alone.
 */
export async function developmentCertificate(directory: string): Promise<Certificate> {
  const path = join(directory, 'localhost.pem')
  const kept = await readFile(path, 'utf8').then(usable, () => undefined)
  if (kept) return kept
  const now = Date.now()
  const { private: key, cert } = await generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notBeforeDate: new Date(now - 3_600_000),
    notAfterDate: new Date(now + DAYS * 86_400_000),
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: 'localhost' },
          { type: 7, ip: '127.0.0.1' },
          { type: 7, ip: '::1' },
        ],
      },
    ],
  })
  await mkdir(directory, { recursive: true })
  // One file, renamed into place: key and certificate always belong together, whoever else starts at the same time.
  const fresh = `${path}.${process.pid}`
  await writeFile(fresh, `${key.trim()}\n${cert.trim()}\n`, { mode: 0o600 })
  await rename(fresh, path)
  return { key, cert }
}

function usable(pem: string): Certificate | undefined {
  try {
    const certificate = new X509Certificate(pem.slice(pem.indexOf('-----BEGIN CERTIFICATE-----')))
    return Date.parse(certificate.validTo) > Date.now() + FEW_DAYS_MS ? { key: pem, cert: pem } : undefined
  } catch {
    return undefined
  }
}
