import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Config } from './config.ts'
import { folderOf } from './connect.ts'
import { EXIT, Exit } from './exit.ts'

/** Beside an embedded log: what development needs and no backup holds. */
export function developmentFolder(config: Config): string {
  return path.join(folderOf(config.log) ?? path.join(config.base, '.weft'), 'dev')
}

const fileOf = (config: Config) => path.join(developmentFolder(config), 'jwt-secret')

/** The secret that `weft dev` signs with; undefined if it made none here yet. */
export async function foundSecret(config: Config): Promise<string | undefined> {
  const secret = await readFile(fileOf(config), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (secret === undefined || secret.length >= 32) return secret
  throw new Exit(EXIT.failed, `${fileOf(config)} does not hold a secret: delete it, "weft dev" makes a new one`)
}

/** The same, made at the first time, readable by its owner alone. */
export async function developmentSecret(config: Config): Promise<string> {
  await mkdir(developmentFolder(config), { recursive: true })
  try {
    await using file = await open(fileOf(config), 'wx', 0o600)
    const secret = randomBytes(32).toString('base64url')
    await file.writeFile(secret)
    await file.sync()
    return secret
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return (await foundSecret(config)) ?? developmentSecret(config)
  }
}
