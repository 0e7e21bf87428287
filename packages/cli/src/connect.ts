import { existsSync } from 'node:fs'
import path from 'node:path'
import { type Catalogue, loadCatalogue, type RegistrySchemas, registrySchemas } from '@weft/schema'
import { open, type Transport, WeftError } from '@weft/transport'
import type { Command } from 'commander'
import { type Config, loadConfig } from './config.ts'
import { EXIT, Exit } from './exit.ts'

/** Options that every command has. */
export interface Shared {
  readonly log?: string
  readonly registry?: string
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

/** The ids of the configured schema registry; undefined if there is none. */
export const schemasOf = (
  { registry: url, registryCredentials: credentials }: Config,
  catalogue: Catalogue,
): RegistrySchemas | undefined =>
  url === undefined ? undefined : registrySchemas({ url, catalogue, ...(credentials && { credentials }) })

/**
 * The configured log. A schema registry beside it has to answer, and for a `service` to have all of the catalogue's
 * schemas; `admin` is about records as such, and does without it.
 */
export async function openLog(
  config: Config,
  catalogue: Catalogue,
  { clientId, purpose }: { readonly clientId: string; readonly purpose: 'service' | 'records' | 'admin' },
): Promise<Transport> {
  const schemas = isKafka(config.log) ? schemasOf(config, catalogue) : undefined
  if (purpose === 'service') await schemas?.warm()
  if (purpose === 'records') await schemas?.reach()
  return open(config.log, { clientId, ...(schemas && { schemas }) }).catch(error => {
    throw isKafka(config.log) ? unreachable(config.log, error) : error
  })
}

export const isKafka = (log: string): boolean => /^kafka(\+ssl)?:/.test(log)

/** One sentence for brokers of which none answers, with the remedy; any other error as it is. */
function unreachable(log: string, error: unknown): unknown {
  if (!(error instanceof WeftError && error.code === 'UNAVAILABLE')) return error
  const brokers = log.replace(/^[^/]*\/\/|[/?].*$/g, '')
  const isHere = /^(localhost|127\.|\[::1\])/.test(brokers)
  const remedy = isHere
    ? 'start one with "npm run local -- up kafka", or name another with --log'
    : 'see that it runs and can be reached from here, or name another with --log'
  return new Exit(EXIT.failed, `no Kafka broker answers at ${brokers}: ${remedy}`, { cause: error })
}

/** The folder of an embedded log, undefined for any other. */
export const folderOf = (log: string): string | undefined => /^embedded:([^?]*)/.exec(log)?.[1]

/** The folder of a service's own, in that of an embedded log or else beside the configuration. */
export const besideLog = (config: Config, name: string): string =>
  path.join(folderOf(config.log) ?? path.join(config.base, '.weft'), name)

/** Opens the log that the options and the configuration name. `create`: an embedded one that is not there is made. */
export async function connect(
  options: Shared,
  { create = false, purpose = 'records' as 'records' | 'admin' } = {},
): Promise<Connection> {
  const config = await loadConfig({ file: options.config, log: options.log, registry: options.registry })
  const folder = folderOf(config.log)
  if (!create && folder !== undefined && !existsSync(path.join(folder, 'data.mdb')))
    throw new Exit(EXIT.missing, `there is no store in ${folder}: "weft dev" makes one, --log names another`)
  const catalogue = await catalogueOf(config)
  const transport = await openLog(config, catalogue, { clientId: `weft-cli-${process.pid}`, purpose })
  return { config, catalogue, transport, [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose]() }
}
