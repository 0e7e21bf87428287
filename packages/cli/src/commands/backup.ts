import path from 'node:path'
import type { Command } from 'commander'
import { connect, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { note, printJson, progress } from '../output.ts'

export function backup(program: Command): void {
  program
    .command('backup')
    .summary('copy an embedded store while it runs')
    .description('Copies an embedded store, consistently, while it is in use. The copy opens as any other store does.')
    .argument('<directory>', 'an empty or new directory')
    .addHelpText(
      'after',
      '\nExamples:\n  weft backup /var/backups/weft-$(date +%F)\n  weft topics --log embedded:/var/backups/weft-2026-11-21',
    )
    .action(async (directory: string, _options, command: Command) => {
      const { json, ...rest } = shared(command)
      await using connection = await connect(rest)
      const { transport } = connection
      if (!('backup' in transport && typeof transport.backup === 'function'))
        throw new Exit(EXIT.usage, 'only an embedded store is backed up like this: a cluster has its own means')
      const began = Date.now()
      using _shown = progress(() => `copying for ${Math.round((Date.now() - began) / 1000)} s`, { quiet: !!json })
      await transport.backup(path.resolve(directory))
      if (json) await printJson({ directory: path.resolve(directory), cluster: transport.cluster })
      else note(`copied to ${path.resolve(directory)}`)
    })
}
