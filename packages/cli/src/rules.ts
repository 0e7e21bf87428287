import { unwatchFile, watchFile } from 'node:fs'
import type { Rule } from '@weft/pipeline'
import type { logger } from '@weft/telemetry'
import { type Config, type LoadOptions, loadConfig } from './config.ts'
import { explain } from './exit.ts'

/** The alert rules that hold at the moment. */
export interface LiveRules extends Disposable {
  current(): readonly Rule[]
}

/**
 * Follows the file's rules: a right edit holds from the next tick on, a broken one leaves the old rules and says so.
 * Nothing else of the file is taken over without a restart.
 */
export function liveRules(
  config: Config,
  {
    parse,
    load,
    log,
    everyMs = 500,
  }: {
    parse: (written: unknown) => readonly Rule[]
    load: LoadOptions
    log: Pick<ReturnType<typeof logger>, 'info' | 'error'>
    everyMs?: number
  },
): LiveRules {
  let rules = parse(config.rules ?? [])
  const { file } = config
  if (file === undefined) return { current: () => rules, [Symbol.dispose]() {} }
  let shown = JSON.stringify(config.rules ?? [])
  const reread = async () => {
    try {
      const edited = await loadConfig({ ...load, file })
      // Only half of it may be there yet, and nobody means to end all alerting by emptying a file.
      if (edited.rules === undefined && shown !== '[]') throw new Error(`${file} has no rules; an empty list ends them`)
      const written = JSON.stringify(edited.rules ?? [])
      if (written === shown) return
      rules = parse(edited.rules ?? [])
      shown = written
      log.info({ rules: rules.map(rule => rule.name) }, 'the alert rules were edited: these hold now')
    } catch (error) {
      log.error(`the old alert rules stay: ${explain(error).sentence}`)
    }
  }
  // An editor writes in several steps: what counts is the file that has stayed as it is for a moment.
  let settling: NodeJS.Timeout | undefined
  const changed = () => {
    clearTimeout(settling)
    settling = setTimeout(reread, everyMs)
  }
  watchFile(file, { interval: everyMs }, changed)
  return {
    current: () => rules,
    [Symbol.dispose]() {
      clearTimeout(settling)
      unwatchFile(file, changed)
    },
  }
}
