import path from 'node:path'
import { describeFault, repairSpool, type SpoolRepair, type SpoolReport, verifySpool } from '@weft/ingest-gw'
import type { Command } from 'commander'
import { loadConfig } from '../config.ts'
import { type Shared, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { note, print, printJson, progress } from '../output.ts'
import { gatewayFolder, spoolFolders } from '../spool-settings.ts'

export function spool(program: Command): void {
  const command = program.command('spool').summary('look into the events that a gateway keeps while the log is away')
  command
    .command('verify')
    .summary('check every record, and repair what is torn or damaged')
    .description(
      'Reads every record of a spool and tells what waits in it and what cannot be read. Exit code 3 if anything cannot. ' +
        'Without --repair nothing is changed, and a gateway may be at work on it.',
    )
    .argument('[directory]', 'the folder of a spool; default: those of the configuration')
    .option(
      '--repair',
      'cut what is torn, write damaged segments anew and keep the originals; no gateway may be using it',
    )
    .addHelpText(
      'after',
      `
Examples:
  weft spool verify                          of the gateways that weft.yaml describes
  weft spool verify /var/weft/spool --json   one JSON object, for scripts
  weft spool verify --repair                 nothing is deleted but what was torn, and that is told`,
    )
    .action(async (directory: string | undefined, { repair }: { repair?: boolean }, self: Command) => {
      const options = shared(self)
      const places = directory === undefined ? await configured(options) : [path.resolve(directory)]
      let left = 0
      for (const place of places) left += await verify(place, { json: !!options.json, repair: !!repair })
      if (left === 0) return
      const remedy = repair ? 'which the repair could not mend' : 'stop the gateway and give --repair to mend it'
      throw new Exit(EXIT.faults, `there ${left === 1 ? 'is 1 fault' : `are ${left} faults`}: ${remedy}`)
    })
}

async function configured({ config: file, log }: Shared): Promise<string[]> {
  const config = await loadConfig({ file, log })
  const folders = await spoolFolders(config)
  if (folders.length > 0) return folders
  const where = gatewayFolder(config)
  throw new Exit(EXIT.missing, `no gateway of this configuration has made a spool in ${where}: name its folder`)
}

/** Resolves to the number of faults that are left. */
async function verify(directory: string, { json, repair }: { json: boolean; repair: boolean }): Promise<number> {
  const began = Date.now()
  const reading = () => `reading for ${Math.round((Date.now() - began) / 1000)} s`
  let report: SpoolReport
  let repairs: readonly SpoolRepair[] = []
  {
    using _shown = progress(reading, { quiet: json })
    report = await verifySpool(directory)
    if (repair && report.faults.length > 0) {
      repairs = await repairSpool(directory)
      if (!json) for (const fault of report.faults) note(`was: ${describeFault(fault)}`)
      report = await verifySpool(directory)
    }
  }
  if (json) await printJson({ ...report, ...(repair && { repairs }) })
  else await tell(report, repairs)
  return report.faults.length
}

async function tell(report: SpoolReport, repairs: readonly SpoolRepair[]): Promise<void> {
  const { segments, bytes, waiting, replayed, oldestAt, tenants, givenUp, setAside, markLost, cluster } = report
  const number = (value: number) => value.toLocaleString('en')
  const since = oldestAt === undefined ? '' : `, the oldest since ${new Date(oldestAt).toISOString()}`
  await print(`${report.directory}${cluster ? `, for the log ${cluster}` : ''}`)
  await print(`${number(waiting)} events wait${since}`)
  await print(`${number(segments)} segments, ${number(bytes)} bytes, ${number(replayed)} events in them replayed`)
  for (const [tenant, events] of Object.entries(tenants)) await print(`  ${tenant || '(no tenant)'}: ${number(events)}`)
  for (const { segment, action, bytes: cut, place, givenUp: lost = [] } of repairs) {
    const records = lost.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`)).join(', ')
    const gone = records ? `, records given up: ${records}` : ''
    await print(
      `${action} ${segment}${cut ? ` by ${cut} bytes` : ''}${gone}${place ? `, the original is ${place}` : ''}`,
    )
  }
  for (const fault of report.faults) await print(`fault: ${describeFault(fault)}`)
  if (markLost)
    await print('fault: the mark of what was replayed cannot be read; all is replayed again, event ids tell doubles')
  if (givenUp > 0) await print(`${number(givenUp)} records were given up by repairs`)
  for (const { name, bytes: size } of setAside) await print(`set aside: ${name}, ${number(size)} bytes`)
}
