import { readdir } from 'node:fs/promises'
import path from 'node:path'
import type { Config } from './config.ts'
import { besideLog, folderOf } from './connect.ts'

/**
 * The spool of the gateway that a configuration describes; undefined for none. By itself there is one unless the log is
 * embedded: that lies on the same disk, and what keeps the log from taking events would keep the spool from it.
 */
export function spoolOf(config: Config) {
  const { enabled = folderOf(config.log) === undefined, directory, ...bounds } = config.gateway.spool
  if (!enabled) return undefined
  const { maxBytes, reserveBytes, patienceMs } = bounds
  return {
    ...(directory === undefined
      ? { directory: path.join(gatewayFolder(config), 'spool'), numbered: true }
      : { directory: path.resolve(config.base, directory) }),
    ...(maxBytes !== undefined && { maxBytes }),
    ...(reserveBytes !== undefined && { reserveBytes }),
    ...(patienceMs !== undefined && { patienceMs }),
  }
}

/** The folders of the spools that there are by this configuration: several where several gateways run beside each other. */
export async function spoolFolders(config: Config): Promise<string[]> {
  const { directory } = config.gateway.spool
  if (directory !== undefined) return [path.resolve(config.base, directory)]
  const folder = gatewayFolder(config)
  const names = await readdir(folder).catch((): string[] => [])
  return names
    .filter(name => /^spool-\d+$/.test(name))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .map(name => path.join(folder, name))
}

/** What the gateway keeps for itself. */
export function gatewayFolder(config: Config): string {
  const { directory } = config.gateway
  return directory === undefined ? besideLog(config, 'ingest-gw') : path.resolve(config.base, directory)
}
