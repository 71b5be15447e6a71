#!/bin/sh
# make-chr22.sh - how tests/data/chr22-1kgp3-b37 was cut from the larger set; needs bcftools, tabix, zcat.
#     make-chr22.sh DIR-WITH-ref.bcf,target.array.phased.vcf.gz,target.array.unphased.vcf.gz,truth.vcf.gz chr22.b37.gmap.gz OUT
set -eu
in=$1 map=$2 out=$3
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
small() { # VCF text of $1 with a short header, no INFO, GT only
    bcftools annotate --no-version -x INFO,QUAL,^FORMAT/GT "$1" |
        awk '/^##fileformat/ || /^##FORMAT=<ID=GT/ || /^##contig=<ID=22,/ || /^##FILTER=<ID=PASS/ || !/^##/'
}
# 1,800 of the 2,104 panel samples, evenly spread, so that every population stays in; sites that still vary
bcftools query -l "$in/ref.bcf" | awk 'NR * 1800 % 2104 < 1800' > "$tmp/keep"
bcftools view --no-version -S "$tmp/keep" -Ou "$in/ref.bcf" | bcftools view --no-version -c1 -Ob -o "$tmp/ref.bcf"
small "$tmp/ref.bcf" | bcftools view --no-version -Ou | bgzip -l 9 -c > "$out/ref.bcf"
bcftools index -f "$out/ref.bcf"
for t in target.array.phased target.array.unphased; do
    small "$in/$t.vcf.gz" | bgzip -l 9 -c > "$out/$t.vcf.gz"
done
# truth at the panel's sites
bcftools index -t -f "$in/truth.vcf.gz" 2>/dev/null || true
bcftools isec --no-version -n=2 -w1 -c none -Ob -o "$tmp/truth.bcf" "$in/truth.vcf.gz" "$out/ref.bcf"
small "$tmp/truth.bcf" | bgzip -l 9 -c > "$out/truth.vcf.gz"
# the map around the region
zcat "$map" | awk 'NR == 1 || $1 > 49000000' | gzip -9n > "$out/chr22.b37.gmap.gz"
rm -f "$out/ref.bcf.csi"
