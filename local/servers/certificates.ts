import { readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { generate } from 'selfsigned'

/** Both in PEM. */
export interface Certificate {
  readonly key: string
  readonly cert: string
}

/** Signs for servers on this machine and for their clients. */
export interface Authority {
  readonly cert: string
  /** For localhost and 127.0.0.1, as server and as client, under the common name `name`; valid for ten years by default. */
  issue(name: string, options?: { readonly until?: Date }): Promise<Certificate>
}

const DAYS = 3_650
const extensions = {
  authority: [
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
  ],
  leaf: [
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, critical: true },
    { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
    {
      name: 'subjectAltName',
      altNames: [
        { type: 2, value: 'localhost' },
        { type: 7, ip: '127.0.0.1' },
        { type: 7, ip: '::1' },
      ],
    },
  ],
} satisfies Record<string, NonNullable<Parameters<typeof generate>[1]>['extensions']>

/** A new authority, which nobody trusts yet. */
export async function createAuthority(name: string): Promise<Authority> {
  const own = await certificate(name, 'authority')
  return { cert: own.cert, issue: (name, { until } = {}) => certificate(name, 'leaf', own, until) }
}

async function certificate(
  name: string,
  kind: keyof typeof extensions,
  ca?: Certificate,
  until = new Date(Date.now() + DAYS * 86_400_000),
): Promise<Certificate> {
  const { private: key, cert } = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notBeforeDate: new Date(Date.now() - 3_600_000),
    notAfterDate: until,
    extensions: extensions[kind],
    ...(ca && { ca }),
  })
  return { key: `${key.trim()}\n`, cert: `${cert.trim()}\n` }
}

/** Files in PEM; key and certificate of an owner lie in one. */
export interface CertificateFiles {
  readonly ca: string
  readonly server: string
  readonly client: string
}

/** What a server and its clients show each other, made once for a folder. */
export async function certificatesIn(folder: string): Promise<CertificateFiles> {
  const files = {
    ca: path.join(folder, 'ca.pem'),
    server: path.join(folder, 'server.pem'),
    client: path.join(folder, 'client.pem'),
  }
  if (await readFile(files.ca).catch(() => undefined)) return files
  const authority = await createAuthority('Weft on this machine')
  for (const owner of ['server', 'client'] as const) {
    const { key, cert } = await authority.issue(owner)
    await writeFile(files[owner], key + cert, { mode: 0o600 })
  }
  // Last and in one step: where it is, the others are.
  await writeFile(`${files.ca}.fresh`, authority.cert)
  await rename(`${files.ca}.fresh`, files.ca)
  return files
}
