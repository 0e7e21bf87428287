import { existsSync } from 'node:fs'
import path from 'node:path'
import { type Catalogue, loadCatalogue } from '@weft/schema'
import { open, type Transport } from '@weft/transport'
import type { Command } from 'commander'
import { type Config, loadConfig } from './config.ts'
import { EXIT, Exit } from './exit.ts'

/** Options that every command has. */
export interface Shared {
  readonly log?: string
  readonly config?: string
  readonly json?: boolean
}

export interface Connection extends AsyncDisposable {
  readonly config: Config
  readonly catalogue: Catalogue
  readonly transport: Transport
}

export const shared = (command: Command): Shared => command.optsWithGlobals<Shared>()

export const catalogueOf = (config: Config): Promise<Catalogue> =>
  config.schemas === undefined ? loadCatalogue() : loadCatalogue(path.resolve(config.base, config.schemas))

/** The folder of an embedded log, undefined for any other. */
export const folderOf = (log: string): string | undefined => /^embedded:([^?]*)/.exec(log)?.[1]

/** Opens the log that the options and the configuration name. `create`: an embedded one that is not there is made. */
export async function connect(options: Shared, { create = false } = {}): Promise<Connection> {
  const config = await loadConfig({ file: options.config, log: options.log })
  const folder = folderOf(config.log)
  if (!create && folder !== undefined && !existsSync(path.join(folder, 'data.mdb')))
    throw new Exit(EXIT.missing, `there is no store in ${folder}: "weft dev" makes one, --log names another`)
  const catalogue = await catalogueOf(config)
  const transport = await open(config.log, { clientId: `weft-cli-${process.pid}` })
  return { config, catalogue, transport, [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose]() }
}
