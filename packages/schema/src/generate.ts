import { writeFile } from 'node:fs/promises'
import { loadCatalogue } from './catalogue.ts'
import { generateTopicsPage } from './topics-page.ts'
import { generateTypes } from './typescript.ts'

const catalogue = await loadCatalogue()
await writeFile(new URL('events.generated.ts', import.meta.url), generateTypes(catalogue))
await writeFile(new URL('../../../docs/topics.md', import.meta.url), generateTopicsPage(catalogue))
