import { checkSchemas, describeIncompatibility, nearest, type Pushed, pushSchemas, releaseSchema } from '@weft/schema'
import type { Command } from 'commander'
import { loadConfig } from '../config.ts'
import { catalogueOf, type Shared, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { duration, print, printJson, printRows } from '../output.ts'

export function schemas(program: Command): void {
  const group = program
    .command('schemas')
    .summary('check, list, show, release and push the schemas of the topics')
    .description('Works on the topic catalogue and the Avro schemas beside it; no log is opened.')
    .option('--dir <folder>', 'the folder of catalogue.yaml')
  const configured = async (command: Command) => {
    const { config: file, registry, dir } = command.optsWithGlobals<Shared & { dir?: string }>()
    const config = await loadConfig({ file, registry })
    return dir === undefined ? config : { ...config, schemas: dir, base: process.cwd() }
  }
  const load = async (command: Command) => catalogueOf(await configured(command))

  group
    .command('check')
    .summary('compare each schema with its last released version')
    .description(
      'Compares each schema with its last released version, or with all of them when its compatibility is transitive. Exit code 3 when a change breaks what the catalogue promises.',
    )
    .addHelpText('after', '\nExamples:\n  weft schemas check\n  weft schemas check --json | jq .reason')
    .action(async (_options, command: Command) => {
      const catalogue = await load(command)
      const found = checkSchemas(catalogue)
      const { json } = shared(command)
      for (const each of found) await (json ? printJson(each) : print(describeIncompatibility(each)))
      if (found.length) throw new Exit(EXIT.faults, `${found.length} incompatible changes`)
      if (!json) await print(`${catalogue.topics.size} schemas are compatible with what was released`)
    })

  group
    .command('list')
    .summary('list the topics of the catalogue')
    .addHelpText('after', '\nExamples:\n  weft schemas list\n  weft schemas list --json | jq -r .topic')
    .action(async (_options, command: Command) => {
      const catalogue = await load(command)
      const rows = [...catalogue.topics.values()].map(topic => ({
        topic: topic.name,
        version: topic.schema.version,
        compatibility: topic.compatibility,
        partitions: topic.partitions,
        retention: topic.retentionMs === undefined ? 'compacted' : duration(topic.retentionMs),
        owner: topic.owner,
      }))
      const columns = ['topic', 'version', 'compatibility', 'partitions', 'retention', 'owner']
      return printRows(rows, { json: !!shared(command).json, columns, empty: 'no topics' })
    })

  group
    .command('show')
    .summary('print the Avro schema of a topic')
    .argument('<topic>')
    .option('--version <number>', 'a released version; default: the current schema')
    .addHelpText('after', '\nExamples:\n  weft schemas show alerts.v1\n  weft schemas show alerts.v1 --version 1')
    .action(async (name: string, { version }: { version?: string }, command: Command) => {
      const catalogue = await load(command)
      const topic = topicOf(catalogue.topics, name)
      if (version === undefined) return print(JSON.stringify(topic.avro, null, 2))
      const releases = catalogue.registry.releases(name)
      const release = releases.find(each => String(each.version) === version)
      if (release) return print(JSON.stringify(release.schema, null, 2))
      const versions = releases.map(each => each.version).join(', ') || 'none'
      throw new Exit(EXIT.missing, `${name} has no version ${version}; released are ${versions}`)
    })

  group
    .command('release')
    .summary('write a schema down as its next released version')
    .argument('<topics...>', 'topics, or "all"')
    .addHelpText('after', '\nExamples:\n  weft schemas release alerts.v1\n  weft schemas release all')
    .action(async (names: string[], _options, command: Command) => {
      const { json } = shared(command)
      let catalogue = await load(command)
      const all = names.length === 1 && names[0] === 'all' ? [...catalogue.topics.keys()] : names
      for (const name of all) topicOf(catalogue.topics, name)
      for (const name of all) {
        const release = await releaseSchema(catalogue, name)
        if (json) await printJson({ topic: name, released: !!release, ...release })
        else
          await print(release ? `${name} version ${release.version}, id ${release.id}` : `${name} is released already`)
        // The next id follows from the one just given.
        if (release) catalogue = await load(command)
      }
    })

  group
    .command('push')
    .summary('register what was released with the schema registry')
    .description(
      'Registers the released versions that the schema registry lacks, in their order, and sets the compatibility of each subject (<topic>-value). Pushing again changes nothing. If one of the topics is refused nothing is changed, and the exit code is 3.',
    )
    .argument('[topics...]', 'default: all of the catalogue')
    .option('--dry-run', 'only say what would be done')
    .addHelpText(
      'after',
      `
Examples:
  weft schemas push --registry http://localhost:8081 --dry-run
  WEFT_REGISTRY_USER=… WEFT_REGISTRY_PASSWORD=… weft schemas push alerts.v1 --json`,
    )
    .action(async (names: string[], { dryRun = false }: { dryRun?: boolean }, command: Command) => {
      const config = await configured(command)
      const { registry: url, registryCredentials: credentials } = config
      if (url === undefined)
        throw new Exit(EXIT.usage, 'there is no registry to push to: give --registry URL, or set it in weft.yaml')
      const catalogue = await catalogueOf(config)
      for (const name of names) topicOf(catalogue.topics, name)
      const pushed = await pushSchemas(catalogue, {
        url,
        dryRun,
        patienceMs: 2_000,
        ...(credentials && { credentials }),
        ...(names.length > 0 && { topics: names }),
      })
      const refused = pushed.filter(({ action }) => action === 'refused')
      const undone = dryRun || refused.length > 0
      const { json } = shared(command)
      for (const each of pushed) await (json ? printJson({ ...each, done: !undone }) : print(told(each, undone)))
      if (refused.length === 0) return
      const all = refused.map(({ topic }) => topic).join(', ')
      throw new Exit(EXIT.faults, `${all}: refused, so nothing was changed in the registry`)
    })
}

/** One line for a subject, and one for each reason why it is refused. */
function told(
  { subject, action, versions, compatibility, compatibilityWas, refusals }: Pushed,
  undone: boolean,
): string {
  const fresh = versions.filter(({ isNew }) => isNew)
  const named = (some: Pushed['versions']) =>
    some.map(({ version, id }) => `version ${version}${id === undefined ? '' : ` (id ${id})`}`).join(', ')
  const registers = undone ? 'would register' : 'registered'
  const sets = `${undone ? 'would set' : 'set'} compatibility ${compatibility}`
  const parts: Record<Pushed['action'], readonly string[]> = {
    unchanged: [`unchanged, ${named(versions)}, ${compatibility}`],
    registered: [`${registers} ${named(fresh)}`, sets],
    configured: [`${sets}, which was ${compatibilityWas ?? 'not set'}`],
    refused: ['refused', ...refusals.map(line => `\n  ${line}`)],
  }
  return `${subject}: ${parts[action].join(action === 'refused' ? '' : ', ')}`
}

function topicOf<Value>(topics: ReadonlyMap<string, Value>, name: string): Value {
  const topic = topics.get(name)
  if (topic) return topic
  const meant = nearest(name, topics.keys())
  throw new Exit(EXIT.missing, `the catalogue has no topic "${name}"${meant ? `, did you mean "${meant}"?` : ''}`)
}
